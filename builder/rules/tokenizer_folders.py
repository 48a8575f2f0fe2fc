"""TRN646: the tokenizer that NVIDIA's models for engines name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.inflight_batcher import engine_folder
from builder.layout import Layout, Model
from builder.rule import Fault, rule
from builder.textproto import Key

_TOKENIZERS = frozenset({"tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "vocab.txt"})


@rule("TRN646")
def tokenizer_missing(model: Model, config: Any, repository: Layout) -> Iterator[Fault]:
    """The folder that tokenizer_dir names holds a tokenizer.

    Bad:
        backend: "python"
        parameters { key: "tokenizer_dir" value { string_value: "/models/m/1/tokenizer" } }
        == m/1/model.py
        class TritonPythonModel:
            def execute(self, requests): return []
    Good:
        backend: "python"
        parameters { key: "tokenizer_dir" value { string_value: "/models/m/1/tokenizer" } }
        == m/1/tokenizer/tokenizer.json
        {}
        == m/1/model.py
        class TritonPythonModel:
            def execute(self, requests): return []
    """
    told = config.parameters["tokenizer_dir"].string_value if "tokenizer_dir" in config.parameters else ""
    folder = repository.find(told)
    if folder is not None and not any((folder / name).is_file() for name in _TOKENIZERS):
        what = engine_folder.without(folder, "tokenizer")
        yield Fault(
            ("parameters", Key("tokenizer_dir")),
            f"{told} {what}",
            f"copy the checkpoint's tokenizer there: one of {', '.join(sorted(_TOKENIZERS))}",
        )
