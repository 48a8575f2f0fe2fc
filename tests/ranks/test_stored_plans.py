"""Plans of engines of checkpoints that are quantised already: what is taken, how, and what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import stored_decoders
import torch
import trtllm_build

from builder import weight_format
from builder.errors import BuilderError
from builder.plan import Options, Plan, plan
from builder.source import read_json
from builder.subjects import read
from builder.target import Job
from builder.targets import tensorrtllm


def planned(folder: Path, **more: Any) -> Plan:
    told = {"target": "tensorrtllm", "gpu": "h100", "max_context": 64, **more}
    return plan(read("tiny", str(folder), None)[0], Options(**told))


def flags(found: Plan) -> tuple[str, str]:
    assert found.compilation is not None
    told = trtllm_build.read(list(found.compilation.arguments))
    return told.gemm_plugin, told.use_fp8_context_fmha


@pytest.mark.parametrize(
    ("way", "described", "algorithm", "expected"),
    [
        ("gptq", {}, "W4A16_AWQ", ("auto", "disable")),
        ("compressed-int4", {}, "W4A16_AWQ", ("auto", "disable")),
        ("modelopt-awq", {}, "W4A16_AWQ", ("auto", "disable")),
        # attention in FP8 wants a cache of FP8
        ("fp8", {}, "FP8", ("disable", "disable")),
        ("compressed-fp8", {}, "FP8", ("disable", "disable")),
        ("modelopt-fp8", {"kv_cache_scheme": stored_decoders.FLOAT8}, "FP8", ("disable", "enable")),
    ],
)
def test_what_engines_have_a_layout_for_is_planned(
    way: str, described: dict[str, Any], algorithm: str, expected: tuple[str, str], tmp_path: Path
) -> None:
    stored_decoders.write(tmp_path / "source", way, **described)
    if described:
        stored_decoders.scale_cache(tmp_path / "source", way, (0.5, 0.5))
    found = planned(tmp_path / "source", tensor_parallel=2)
    assert found.stored is not None and found.stored.kernels["tensorrtllm"].method == algorithm
    assert found.quantize == found.stored.name
    assert (flags(found), found.cache_type) == (expected, "fp8" if described else "")
    job = Job(
        checkpoint=tmp_path / "source", exporter="", pipeline="", main="", quantization=found.quantize,
        arguments=found.converter_arguments, device="gpu", accelerators=(), runtime="", image=(0, 0, 0),
        settings={}, out=tmp_path / "out", split=found.split, cache_type=found.cache_type, stored=True,
    )  # fmt: skip
    assert tensorrtllm.convert(job)[2:] == [
        *("builder.exporting.tensorrt_llm_quantised", str(tmp_path / "source")),
        *(
            str(tmp_path / "out" / "checkpoint"),
            "--tp",
            "2",
            "--pp",
            "1",
            "--ep",
            "1",
            "--parallel-embedding",
            "--percents",
        ),
    ]
    assert tensorrtllm.converter(found.quantize) == "tensorrt_llm_quantised"


@pytest.mark.parametrize(
    ("way", "described", "more", "words"),
    [
        ("gptq", {"desc_act": True}, {}, ["does not take: its engines take symmetric 4", "--target vllm"]),
        ("gptq", {"group_size": 64}, {}, ["groups of 128 inputs in a row", "--target vllm"]),
        ("fp8", {"activation_scheme": "dynamic"}, {}, ["one for all of its inputs", "--target vllm"]),
        ("modelopt-fp8", {"quant_algo": "FP8_PB_WO"}, {}, ["only FP8, W4A16_AWQ", "--target vllm"]),
        ("fp8", {}, {"gpu": "a100-80"}, ["compute capability 8.0", "at least 8.9", "FP8"]),
        ("gptq", {}, {"tensor_parallel": 4}, ["parts the 256 inputs", "a group of 128"]),
        ("fp8", {}, {"cache_type": "fp8"}, ["its scales are measured", "brings none", "--quantize fp8"]),
        ("gptq", {}, {"quantize": "awq"}, ["--quantize awq", "is quantised already (GPTQ"]),
    ],
)
def test_what_they_have_none_for_is_refused_with_a_way_out(
    way: str, described: dict[str, Any], more: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    stored_decoders.write(tmp_path / "source", way)
    config = read_json(tmp_path / "source" / "config.json")
    config["quantization_config"] |= described
    (tmp_path / "source" / "config.json").write_text(json.dumps(config))
    with pytest.raises(BuilderError) as refused:
        planned(tmp_path / "source", **more)
    assert all(word in str(refused.value) for word in words), refused.value


@pytest.mark.parametrize("way", list(stored_decoders.CACHES))
def test_a_cache_without_scales_is_refused_by_engines_alone(way: str, tmp_path: Path) -> None:
    stored_decoders.write(tmp_path / "source", way, kv_cache_scheme=stored_decoders.FLOAT8)
    with pytest.raises(
        BuilderError, match="KV cache of FP8, and the checkpoint brings scales of 0 keys and 0"
    ):
        planned(tmp_path / "source")
    assert planned(tmp_path / "source", target="vllm").cache_type == "fp8"


def test_experts_in_4_bits_are_refused(tmp_path: Path) -> None:
    stored_decoders.write(tmp_path / "source", "gptq", "mixtral", num_local_experts=2)
    with pytest.raises(BuilderError, match="of W4A16_AWQ for them") as refused:
        planned(tmp_path / "source")
    assert "has 2 experts in a layer" in refused.value.found
    assert refused.value.remedy == "use --target vllm"


def test_a_tied_head_takes_its_place_beside_the_embedding(tmp_path: Path) -> None:
    stored_decoders.write(tmp_path / "source", "gptq", tie_word_embeddings=True)
    table = 320 * 256 * 2
    held = planned(tmp_path / "source", target="vllm").memory.weights
    assert planned(tmp_path / "source").memory.weights == held + table


def test_the_proof_s_source_is_what_modelopt_s_awq_stands_for() -> None:
    """Two outputs in a byte, the even one low, and inputs that are multiplied before."""
    told = {"quantization": {"quant_algo": "W4A16_AWQ"}}
    form = weight_format.load({"quant_method": "modelopt"})
    parts = {
        "weight": torch.tensor([[0x9F, 0x21], [0x70, 0x08]], dtype=torch.uint8),
        "weight_scale": torch.tensor([[1.0], [2.0], [0.5], [10.0]]),
        "pre_quant_scale": torch.tensor([1.0, 3.0]),
    }
    expected = [[-1.0, 3.0], [-14.0, 12.0], [0.0, -12.0], [70.0, 0.0]]
    assert form.weight(told, parts).tolist() == expected
    assert form.packed(told, 4, 256) == {"weight": (2, 256)}
