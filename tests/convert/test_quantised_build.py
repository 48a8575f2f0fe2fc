"""Quantised checkpoints on their way into a repository: laid as they are, told to vLLM, kept in the manifest.

vLLM is not run: its proof is the workshop's stand-in.
"""

from __future__ import annotations

import pytest
import tiny_quantised

from builder.errors import ConversionError
from builder.source import read_json
from builder.targets import vllm
from builder.weight_formats import bitsandbytes


@pytest.fixture
def build(workshop, monkeypatch):
    """Return what builds a checkpoint that is quantised in a way for vLLM, and gives the front's version."""
    monkeypatch.setattr(vllm, "REQUIREMENTS", {"json": "json"})

    def run(way: str, **arguments):
        workshop.checkpoint = workshop.folder / way
        tiny_quantised.checkpoint(workshop.checkpoint, way)
        workshop.build(target="vllm", gpu="h200", max_context=64, **arguments)
        return workshop.output / "tiny" / "1"

    return run


def test_the_checkpoint_is_laid_as_it_is_and_the_manifest_says_what_it_is(workshop, build):
    front = build("compressed-fp8")
    assert (front / "model" / "model.safetensors").samefile(workshop.checkpoint / "model.safetensors")
    assert read_json(front / "model" / "config.json")["quantization_config"]["format"] == "float-quantized"
    told = read_json(front / "settings.json")["engine_arguments"]
    assert (told["dtype"], told["kv_cache_dtype"]) == ("float16", "fp8_e4m3")
    manifest = read_json(front / "manifest.json")
    assert manifest["plan"]["stored"]["name"] == manifest["plan"]["quantize"] == "compressed_tensors"
    assert manifest["plan"]["cache_type"] == "fp8"
    assert manifest["evidence"]["reference"].endswith("float32, compressed_tensors weights dequantised")


def test_a_description_beside_the_config_goes_along(workshop, build):
    folder = workshop.folder / "modelopt-fp8"
    build("modelopt-fp8")
    config = read_json(folder / "config.json")
    separate = {"producer": {"name": "modelopt"}, "quantization": config.pop("quantization_config")}
    tiny_quantised.write(folder / "config.json", config)
    tiny_quantised.write(folder / "hf_quant_config.json", separate)
    workshop.build(target="vllm", gpu="h200", max_context=64, served_name="older")
    front = workshop.output / "older" / "1"
    assert read_json(front / "model" / "hf_quant_config.json") == separate
    assert "hf_quant_config.json" in read_json(front / "manifest.json")["source"]["sha256"]


def test_a_proof_with_another_cache_is_another_proof(workshop, build):
    build("awq")
    workshop.build(target="vllm", gpu="h200", max_context=64, cache_type="fp8", served_name="tiny8")
    assert (workshop.runs("golden"), workshop.runs("reference")) == (2, 2)
    workshop.build(target="vllm", gpu="h200", max_context=64, cache_type="fp8", served_name="tiny8")
    assert workshop.runs("golden") == 2


def test_kernels_that_no_engine_brings_are_asked_for(build, monkeypatch):
    monkeypatch.setattr(bitsandbytes, "REQUIREMENTS", {"no_such_kernels": "bitsandbytes"})
    with pytest.raises(ConversionError, match="needs bitsandbytes, which is not installed"):
        build("bitsandbytes-nf4")
