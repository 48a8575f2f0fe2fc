"""llama.cpp on a CPU, by cyllama: one step advances every running sequence at once.

Serves the one GGUF file in the artifact's folder. The library has samplers of its own; tokens are chosen from
the logits here, so that every parameter means the same as with the other engines.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.engine.llamacpp_rows import LlamacppRows
from backends.engine.processors import usable_cores
from backends.engine.rounds import RESPONSES_A_SECOND_PER_THREAD, Seated

MODEL = "model.gguf"


def create(settings: Mapping[str, Any], folder: Path) -> Llamacpp:
    """Load `folder`/settings["model"]/model.gguf; 0 threads are one per core."""
    arguments = settings["engine_arguments"]
    threads = int(arguments["threads"]) or usable_cores()
    rows = LlamacppRows(
        folder / settings["model"] / MODEL,
        rows=int(settings["max_active"]),
        capacity=int(settings["context_length"]),
        threads=threads,
        cache_type=arguments["cache_type"],
    )
    return Llamacpp(rows, settings, folder, responses_a_second=threads * RESPONSES_A_SECOND_PER_THREAD)


class Llamacpp(Seated):
    """The engine of `--target llamacpp`; see Engine."""

    name = "llamacpp"
