"""LoRA adapters beside engines of TensorRT-LLM: flags, caches and refusals, worked by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tiny_adapter
import trtllm_build
from planning import options, planned, subject

from builder.adapter import Adapter
from builder.errors import PlanError, UsageError
from builder.inflight_batcher import adapters
from builder.inflight_batcher.adapters import MODULES
from builder.plan import Plan, plan
from builder.planning.memory import RUNTIME_BYTES
from builder.planning.placement import Split

# SmolLM2: hidden 576, 9 heads of 64, 3 KV heads, middle 1536, 30 layers
DIMENSIONS = subject("smollm2").dimensions
GPU = "--target tensorrtllm --gpu h100"


@pytest.fixture
def line(tmp_path: Path) -> str:
    """Return options that name two adapters, of ranks 4 and 20."""
    small = tiny_adapter.write(tmp_path / "small", DIMENSIONS, 4)
    large = tiny_adapter.write(tmp_path / "large", DIMENSIONS, 20, ("down_proj",))
    return f"{GPU} --lora support={small} --lora law={large}"


def weights_type(found: Plan) -> dict[str, str]:
    """Return model -> the type of its lora_weights."""
    return {
        model.name: tensor.data_type
        for model in found.models
        for tensor in model.member.inputs
        if tensor.name == "lora_weights"
    }


def asked(found: Plan) -> dict[str, Any]:
    assert found.compilation is not None
    return vars(trtllm_build.read(list(found.compilation.arguments)))


def test_the_engine_is_built_for_all_of_them(line: str) -> None:
    told = asked(planned("smollm2", line))
    # an engine has query, key and value together or none of them
    assert told["lora_target_modules"] == ["attn_q", "attn_k", "attn_v", "mlp_4h_to_h"]
    assert (told["lora_plugin"], told["max_lora_rank"]) == ("auto", 20)


def test_the_caches_hold_all_of_them(line: str) -> None:
    found = planned("smollm2", line)
    # the smallest module is a slot wide: key and value, 576 + 192; query 1152 and down 2112 take 2 and 3
    page = 20 * (2 + 1 + 1 + 3) * (576 + 192) * 30 * 2
    told = dict(found.graph.member.parameters)
    free = int((found.memory.total or 0) * 0.92) - found.memory.weights - RUNTIME_BYTES
    share = float(told.pop("lora_cache_gpu_memory_fraction"))
    assert 2 * page <= share * free < 2 * page + free / 10_000
    assert {name: value for name, value in told.items() if "lora" in name} == {
        "lora_cache_optimal_adapter_size": "20",
        "lora_cache_max_adapter_size": "20",
        "lora_cache_host_memory_bytes": str(2 * page),
    }
    assert found.memory.adapters == 2 * page
    room = planned("smollm2", GPU).memory.cache - found.memory.cache
    assert abs(room - 2 * page) <= found.memory.cache_per_token


@pytest.mark.parametrize(
    ("modules", "split", "each"),
    [
        (("o_proj",), Split(), 576 + 576),
        # A of what reads a part is divided, else B; each of three GPUs has one KV head
        (("o_proj",), Split(3), 192 + 576),
        # slots are 640 wide, key's and value's: query's 768 take two, down's 1088 as well
        (("q_proj", "down_proj"), Split(3), (2 + 1 + 1 + 2) * 640),
        # nine GPUs have a copy of a KV head each, 64 wide, as query's
        (("k_proj",), Split(9), 3 * 640),
        # gate and up are one matrix of the engine
        (("gate_proj",), Split(), 2 * (576 + 1536)),
    ],
)
def test_a_page_is_as_the_runtime_makes_it(modules: tuple[str, ...], split: Split, each: int) -> None:
    one = Adapter("one", 8, modules, Path())
    assert adapters.bytes_on_gpu([one], DIMENSIONS, split) == 8 * each * 30 * 2
    halves = Split(split.tensor, 2)
    assert adapters.bytes_on_gpu([one], DIMENSIONS, halves) == 8 * each * 15 * 2


def test_more_than_the_gpu_is_made_for_wait_in_the_host_s_memory(tmp_path: Path) -> None:
    folders = [tiny_adapter.write(tmp_path / str(number), DIMENSIONS) for number in range(10)]
    found = planned("smollm2", " ".join([GPU, *(f"--lora a{one.name}={one}" for one in folders)]))
    page = found.memory.adapters // 8
    assert found.engine_arguments["lora_cache_host_memory_bytes"] == 10 * page


@pytest.mark.parametrize(
    ("more", "kind"), [("", "BF16"), ("--quantize fp16", "FP16"), ("--quantize fp8", "BF16")]
)
def test_adapters_are_sent_in_what_the_engine_computes_in(line: str, more: str, kind: str) -> None:
    assert weights_type(planned("smollm2", f"{line} {more}")) == {"smollm2_engine": kind}


def test_quantised_weights_leave_the_source_s_own_16_bits(line: str) -> None:
    halves = dataclasses.replace(subject("smollm2"), precision="fp16")
    assert weights_type(plan(halves, options(f"{line} --quantize fp8"))) == {"smollm2_engine": "FP16"}


def test_nvidia_s_clients_send_them_themselves(line: str) -> None:
    found = planned("smollm2", f"{line} --contract nvidia")
    assert weights_type(found) == dict.fromkeys(("tensorrt_llm", "tensorrt_llm_bls", "ensemble"), "BF16")
    engine = next(model.member for model in found.models if model.name == "tensorrt_llm")
    assert engine.parameters["lora_cache_max_adapter_size"] == "20"
    assert asked(found)["max_lora_rank"] == 20


def test_without_adapters_nothing_is_said() -> None:
    found = planned("smollm2", GPU)
    assert not any("lora" in name for name in found.engine_arguments)
    assert asked(found)["lora_plugin"] is None
    assert weights_type(found) == {"smollm2_engine": "FP16"}


def test_every_layer_that_an_adapter_may_change_is_a_module(tmp_path: Path) -> None:
    assert set(MODULES) == set(tiny_adapter.MODULES)
    assert {name: one.role for name, one in MODULES.items()} == {
        name: role for name, (role, _) in tiny_adapter.MODULES.items()
    }


def test_an_output_that_is_not_square_takes_no_adapter(tmp_path: Path) -> None:
    wide = dataclasses.replace(DIMENSIONS, head_size=128)
    one = dataclasses.replace(subject("smollm2"), dimensions=wide)
    folder = tiny_adapter.write(tmp_path / "one", wide, modules=("q_proj", "o_proj"))
    with pytest.raises(PlanError, match="o_proj, which reads 1152 numbers and writes 576"):
        plan(one, options(f"{GPU} --lora a={folder}"))
    alone = tiny_adapter.write(tmp_path / "alone", wide, modules=("q_proj", "down_proj"))
    assert asked(plan(one, options(f"{GPU} --lora a={alone}")))["max_lora_rank"] == 4


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("max_lora_rank=3", "--lora"),
        ("lora_cache_host_memory_bytes=3", "--lora"),
        ("lora_dir=here", "adapters are converted here"),
        ("lora_prefetch_dir=here", "reads none in bfloat16"),
    ],
)
def test_what_adapters_decide_is_not_set_by_hand(setting: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        planned("smollm2", f"{GPU} --set engine.{setting}")


def test_a_kernel_that_adds_no_adapters_is_refused(tmp_path: Path) -> None:
    swiglu = f"{GPU} --quantize fp8 --set engine.gemm_swiglu_plugin=fp8"
    fed = tiny_adapter.write(tmp_path / "fed", DIMENSIONS, modules=("up_proj",))
    with pytest.raises(UsageError, match="gemm_swiglu_plugin is fp8"):
        planned("smollm2", f"{swiglu} --lora a={fed}")
    other = tiny_adapter.write(tmp_path / "other", DIMENSIONS, modules=("down_proj",))
    assert asked(planned("smollm2", f"{swiglu} --lora a={other}"))["gemm_swiglu_plugin"] == "fp8"
