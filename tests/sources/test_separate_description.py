"""hf_quant_config.json: what it says counts where config.json is silent, and is told under its own name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_decoders

from builder.errors import SourceError
from builder.source import Checkpoint, open_checkpoint
from builder.subjects import read


def opened(folder: Path, separate: dict[str, Any]) -> Checkpoint:
    told = tiny_decoders.config("llama")
    tiny_decoders.write(folder, told, tiny_decoders.weights(told))
    (folder / "hf_quant_config.json").write_text(json.dumps({"producer": {"name": "modelopt"}, **separate}))
    return open_checkpoint(folder)


@pytest.mark.parametrize(
    "separate",
    [{"quantization": {"quant_algo": None, "kv_cache_quant_algo": None}}, {"quant_algo": None}],
)
def test_null_is_not_quantised(separate: dict[str, Any], tmp_path: Path) -> None:
    assert "quantization_config" not in opened(tmp_path, separate).config
    assert read("tiny", str(tmp_path), None)[0].stored is None


@pytest.mark.parametrize(
    ("separate", "words"),
    [
        ({"quantization": {}}, "hf_quant_config.json says quant_algo None"),
        ({"quantization": {"quant_algo": 8}}, "hf_quant_config.json says quant_algo 8"),
        ({"quantization": "FP8"}, "hf_quant_config.json says quantization 'FP8'"),
        ({"producer": {"name": "another"}}, "hf_quant_config.json says quant_method 'another'"),
    ],
)
def test_its_mistakes_are_its_own(separate: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as refused:
        opened(tmp_path, separate)
    told = refused.value.sentence()
    assert told.startswith(words)
    assert "config.json" not in told.replace("hf_quant_config.json", "")
