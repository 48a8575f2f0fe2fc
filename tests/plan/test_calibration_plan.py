"""What texts scales are measured with: how many, how long, part of the artifact's key; and whole groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_decoders
from planning import planned, planned_from

from builder import artifact_key, convert, quantization
from builder.errors import ConversionError, PlanError, UsageError

LINE = "--target onnx --quantize gptq"


def identity(more: str = "") -> dict[str, Any]:
    return artifact_key.identity(planned("smollm2", f"{LINE} {more}"), {})


def test_number_and_length_of_texts_are_part_of_the_key() -> None:
    usual, few, short = identity(), identity("--calibration-samples 8"), identity("--calibration-length 64")
    assert len({artifact_key.key(one) for one in (usual, few, short)}) == 3
    assert few["calibration_samples"] == 8 and short["calibration_length"] == 64
    assert "calibration_samples" not in usual and usual["calibration"] == few["calibration"]


def test_what_rounds_is_part_of_the_key_and_of_no_other_quantization() -> None:
    assert "converter" in identity()
    assert "converter" not in artifact_key.identity(planned("smollm2", "--quantize int4_g64"), {})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--quantize int4_g64 --calibration-samples 8", ["int4_g64 measures no scales", "gptq"]),
        ("--quantize int4 --calibration-length 8", ["--calibration-length 8", "leave --calibration-length"]),
        ("--quantize gptq --calibration-samples 9999", ["9,999", "shipped holds 35 texts", "at most 35"]),
        ("--quantize gptq --calibration nowhere.jsonl", ["nowhere.jsonl", "JSON lines"]),
    ],
)
def test_what_asks_for_texts_that_there_are_not_is_refused(line: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        planned("smollm2", line)
    assert all(word in str(caught.value) for word in words)


def test_random_tokens_are_refused(tmp_path: Path) -> None:
    import random

    draw = random.Random(0)
    words = ["".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(6)) for _ in range(9000)]
    made = [" ".join(draw.sample(words, 60)) for _ in range(40)]
    (tmp_path / "random.jsonl").write_text("\n".join(json.dumps({"prompt": one}) for one in made))
    with pytest.raises(UsageError, match="no language"):
        planned("smollm2", f"{LINE} --calibration {tmp_path / 'random.jsonl'}")


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"hidden_size": 96, "intermediate_size": 128}, "hidden size of 96"),
        ({"hidden_size": 64, "intermediate_size": 96}, "intermediate size of 96"),
        ({"hidden_size": 64, "intermediate_size": 128, "head_dim": 4}, "attention output of 32"),
    ],
)
def test_a_group_that_does_not_divide_is_refused_by_the_plan(
    tmp_path: Path, changed: dict[str, int], what: str
) -> None:
    told = tiny_decoders.config("llama", **{"head_dim": 8, **changed})
    tiny_decoders.write(tmp_path / "tiny", told, tiny_decoders.weights(told))
    with pytest.raises(PlanError) as caught:
        planned_from(tmp_path / "tiny", LINE)
    for word in (what, "groups of 64", "--quantize int4"):
        assert word in str(caught.value)


@pytest.mark.parametrize("method", ["awq", "gptq"])
def test_smollm2_has_whole_groups_of_64(method: str) -> None:
    """576 and 1,536 are 9 and 24 of them; of 128, 576 is four and a half."""
    found = planned("smollm2", f"--target onnx --quantize {method}")
    assert found.quantize == method and found.memory.weights == planned("smollm2", LINE).memory.weights


def test_limits_of_awq_are_those_of_the_target() -> None:
    limits = planned("smollm2", "--target onnx --quantize awq").limits
    assert limits == planned("smollm2", LINE).limits != quantization.load("awq").budget.held_out


@pytest.mark.parametrize("card", ["h100", "l4", "b200"])
def test_fp8_is_told_to_vllm_which_rounds_as_it_loads(card: str) -> None:
    found = planned("llama-8b", f"--target vllm --gpu {card} --quantize fp8 --max-context 4096")
    assert found.engine_arguments["quantization"] == "fp8"
    assert found.engine_arguments["dtype"] == "bfloat16"
    half = planned("llama-8b", "--target vllm --gpu h100 --quantize bf16 --max-context 4096")
    # 8,030,261,248 weights, of which the embedding's and the head's 128,256 x 4,096 keep 16 bits
    tables = 2 * 128_256 * 4096
    assert found.memory.weights == 8_030_261_248 - tables + 2 * tables
    assert found.memory.cache_per_token == half.memory.cache_per_token
    assert "quantization" not in half.engine_arguments


def test_fp8_where_nothing_computes_in_it_is_refused_with_what_does() -> None:
    with pytest.raises(UsageError) as caught:
        planned("llama-8b", "--target vllm --gpu a100-80 --quantize fp8")
    for word in ("NVIDIA A100", "compute capability 8.0", "at least 8.9", "--quantize awq or gptq"):
        assert word in str(caught.value)


@pytest.mark.parametrize("method", ["awq", "gptq"])
@pytest.mark.parametrize(("card", "half"), [("a100-80", "bfloat16"), ("t4", "float16")])
def test_vllm_keeps_the_rest_in_the_16_bits_of_the_gpu(card: str, half: str, method: str) -> None:
    found = planned("llama-8b", f"--target vllm --gpu {card} --quantize {method} --max-context 4096")
    assert found.engine_arguments["dtype"] == half and "quantization" not in found.engine_arguments
    tables = 2 * 128_256 * 4096
    assert found.memory.weights == (8_030_261_248 - tables) * (4 + 20 / 64) / 8 + 2 * tables
    assert "calibration" in artifact_key.identity(found, {})


def test_fp8_of_vllm_takes_no_texts() -> None:
    with pytest.raises(UsageError, match="measures no scales"):
        planned("llama-8b", "--target vllm --gpu h100 --quantize fp8 --calibration-samples 8")


def test_nf4_is_told_to_vllm_which_rounds_as_it_loads() -> None:
    found = planned("llama-8b", "--target vllm --gpu a10 --quantize nf4 --max-context 4096")
    assert found.engine_arguments["quantization"] == "bitsandbytes"
    assert found.engine_arguments["dtype"] == "bfloat16"
    tables = 2 * 128_256 * 4096
    # a byte for each 64 weights, and of each 256 such bytes a float32
    assert found.memory.weights == (8_030_261_248 - tables) * (4 + 8.125 / 64) / 8 + 2 * tables


def test_nf4_without_its_kernels_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = planned("llama-8b", "--target vllm --gpu a10 --quantize nf4 --max-context 4096")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "bitsandbytes" else name)
    with pytest.raises(ConversionError, match=r"needs bitsandbytes>=0\.48\.1") as caught:
        convert.require_libraries(found)
    assert "pip install 'bitsandbytes>=0.48.1'" in caught.value.remedy
