"""Engines of checkpoints that are quantised already, from the folder to the repository."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import stored_decoders
import tiny
import tiny_quantised
import torch
from safetensors.torch import load_file, save_file
from tiny import Workshop

from builder.errors import ConversionError
from builder.pipeline import Built
from builder.proving import source_model, tensorrt_llm_ranks
from builder.ranks.convert import Ranks
from builder.ranks.division import Division
from builder.ranks.stored import convert_stored
from builder.source import read_json

IDS = [3, 14, 15, 92, 65, 35, 89]


@pytest.mark.parametrize("way", ["gptq", "compressed-int4", "modelopt-awq"])
def test_ranks_answer_as_the_source_that_the_proof_reads(way: str, tmp_path: Path) -> None:
    """The numbers are the same, so the answers are, but for sums in another order."""
    stored_decoders.write(tmp_path / "source", way)
    path = tmp_path / "source" / "model.safetensors"
    held = load_file(path)
    small = {name: one / 16 if "scale" in name else one for name, one in held.items()}
    if way == "modelopt-awq":
        name = "model.layers.0.mlp.down_proj.pre_quant_scale"
        small[name] = (torch.rand(512) + 0.5).half()
    save_file(small, path)
    convert_stored(tmp_path / "source", tmp_path / "model" / "checkpoint", Ranks(Division(2)))
    witness = tensorrt_llm_ranks.load(tmp_path / "model", {})
    with torch.inference_mode():
        expected = source_model.load(tmp_path / "source")(torch.tensor([IDS])).logits[0, -1]
    found = torch.from_numpy(witness.start(IDS, 9))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    made = Workshop(tmp_path, monkeypatch)
    shutil.rmtree(made.checkpoint)
    stored_decoders.write(made.checkpoint, "gptq")
    tiny.checkpoint(tmp_path / "other")
    for file in (tmp_path / "other").iterdir():
        if "token" in file.name or "chat" in file.name:
            shutil.copyfile(file, made.checkpoint / file.name)
    return made


def build(workshop: Workshop, **more: Any) -> Built:
    told = {"target": "tensorrtllm", "gpu": "h100", "tensor_parallel": 2, "max_context": 64}
    return workshop.build(**{**told, **more})


@pytest.mark.slow
def test_a_build_publishes_the_ranks_and_says_what_they_were(workshop: Workshop) -> None:
    build(workshop)
    engine = workshop.output / "tiny_engine" / "1"
    told = json.loads((engine / "checkpoint" / "config.json").read_text())
    assert (told["quantization"]["quant_algo"], told["mapping"]["tp_size"]) == ("W4A16_AWQ", 2)
    assert not (engine / "checkpoint" / "calibration.json").exists()
    manifest = read_json(workshop.output / "tiny" / "1" / "manifest.json")
    assert manifest["plan"]["stored"]["kernels"]["tensorrtllm"]["method"] == "W4A16_AWQ"
    assert manifest["evidence"]["reference"].endswith("float32, gptq weights dequantised")
    assert "--gemm_plugin auto" in (engine / "build-engine.sh").read_text().replace(" \\\n    ", " ")


@pytest.mark.slow
def test_what_only_the_numbers_tell_is_refused_with_nothing_written(workshop: Workshop) -> None:
    path = workshop.checkpoint / "model.safetensors"
    held = load_file(path)
    zeros = tiny_quantised.words(torch.full((4, 256), 4), 4)
    save_file({**held, "model.layers.0.mlp.down_proj.qzeros": zeros}, path)
    with pytest.raises(ConversionError) as refused:
        build(workshop)
    assert "zero points that are not in the middle" in str(refused.value)
    assert "--target vllm or llmapi" in str(refused.value)
    assert not workshop.output.exists()
    assert not any((workshop.cache / "artifacts").iterdir())
