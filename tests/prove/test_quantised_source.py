"""The source of a quantised checkpoint: the matrices that its packed numbers stand for, run in float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_quantised
import torch

from builder.proving import source_model
from builder.source import read_json

IDS = torch.tensor([[1, 3, 4, 5, 6, 3]])


@pytest.mark.parametrize("way", tiny_quantised.WAYS)
def test_the_source_answers_as_the_plain_matrices_do(way: str, tmp_path: Path) -> None:
    weights = tiny_quantised.checkpoint(tmp_path / "quantised", way)
    tiny_quantised.plain(tmp_path / "plain", weights, tmp_path / "quantised")
    found = source_model.load(tmp_path / "quantised")
    for name, matrix in found.named_parameters():
        assert torch.allclose(matrix, weights[name], rtol=1e-6, atol=1e-7), name
    with torch.inference_mode():
        logits = found(IDS).logits
        assert torch.allclose(logits, source_model.load(tmp_path / "plain")(IDS).logits, rtol=1e-5, atol=1e-5)


def test_a_gptq_of_the_second_format_has_its_zeros_as_they_are(tmp_path: Path) -> None:
    first = tiny_quantised.checkpoint(tmp_path / "model", "gptq", checkpoint_format="gptq_v2")
    name = "model.layers.0.mlp.up_proj.weight"
    found = dict(source_model.load(tmp_path / "model").named_parameters())[name]
    # every zero point is one less, so every weight one scale more
    assert (found - first[name]).unique().numel() > 1
    assert bool((found > first[name]).all())


def test_older_modelopt_says_it_in_a_file_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    weights = tiny_quantised.checkpoint(folder, "modelopt-fp8")
    config = read_json(folder / "config.json")
    del config["quantization_config"]
    tiny_quantised.write(folder / "config.json", config)
    told = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    separate = {"producer": {"name": "modelopt", "version": "0.29.0"}, "quantization": told}
    tiny_quantised.write(folder / "hf_quant_config.json", separate)
    name = "model.layers.1.mlp.down_proj.weight"
    found = dict(source_model.load(folder).named_parameters())[name]
    assert torch.allclose(found, weights[name])


def test_tensors_that_are_no_model_s_are_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny_quantised.checkpoint(folder, "awq")
    tiny_quantised.write(
        folder / "config.json", {**read_json(folder / "config.json"), "num_hidden_layers": 1}
    )
    with pytest.raises(ValueError, match=r"has no tensor model\.layers\.1\."):
        source_model.load(folder)
