"""Plans for TensorRT-LLM's LLM API: what it is told, and in which containers it is."""

from __future__ import annotations

import dataclasses

import pytest
from planning import options, planned, subject

from builder.errors import ConversionError, UsageError
from builder.plan import plan
from builder.planning import versions
from builder.targets import llmapi
from builder.weight_formats import modelopt

GPU = "--gpu h200 --target llmapi"


def test_the_library_is_told_what_was_planned() -> None:
    found = planned("llama-8b", f"{GPU} --tp 2 --concurrency 64 --max-context 4096")
    assert (found.engine, found.split.gpus) == ("tensorrt_llm", 2)
    assert found.engine_arguments == {
        "backend": "pytorch",
        "dtype": "bfloat16",
        "max_seq_len": 4096,
        "max_batch_size": 64,
        "max_num_tokens": 8192,
        "kv_cache_config": {
            "max_tokens": 64 * 4096,
            "free_gpu_memory_fraction": 0.92,
            "enable_block_reuse": True,
            "dtype": "auto",
        },
        "cuda_graph_config": {"max_batch_size": 64, "enable_padding": True},
        "enable_chunked_prefill": True,
        "guided_decoding_backend": "xgrammar",
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 1,
    }


def test_what_is_planned_can_be_set_or_has_an_option() -> None:
    # `backend` is what the target is
    assert set(planned("llama-8b", GPU).engine_arguments) - set(llmapi.SETTABLE) == {"backend"}


def test_settings_take_the_place_of_what_was_planned() -> None:
    sets = """--set engine.stream_interval=4 --set 'engine.moe_config={"backend":"CUTLASS"}'"""
    told = planned("llama-8b", f"{GPU} {sets}").engine_arguments
    assert (told["stream_interval"], told["moe_config"]) == (4, {"backend": "CUTLASS"})


def test_fields_that_are_set_stand_beside_those_that_were_planned() -> None:
    sets = (
        """--set 'engine.kv_cache_config={"enable_block_reuse": false}' """
        """--set 'engine.kv_cache_config={"host_cache_size": 4096}' """
        """--set 'engine.cuda_graph_config={"enable_padding": false}'"""
    )
    line = f"{GPU} --concurrency 64 --max-context 4096 --kv-cache fp8 {sets}"
    told = planned("llama-8b", line).engine_arguments
    assert told["kv_cache_config"] == {
        "max_tokens": 64 * 4096,
        "free_gpu_memory_fraction": 0.92,
        "enable_block_reuse": False,
        "dtype": "fp8",
        "host_cache_size": 4096,
    }
    assert told["cuda_graph_config"] == {"max_batch_size": 64, "enable_padding": False}


def test_batches_of_graphs_stand_instead_of_the_largest() -> None:
    """CudaGraphConfig refuses both (llmapi/llm_args.py)."""
    sets = """--set 'engine.cuda_graph_config={"batch_sizes": [1, 2]}'"""
    told = planned("llama-8b", f"{GPU} {sets}").engine_arguments
    assert told["cuda_graph_config"] == {"batch_sizes": [1, 2], "enable_padding": True}


def test_graphs_of_a_batch_can_be_left_out() -> None:
    assert (
        planned("llama-8b", f"{GPU} --set engine.cuda_graph_config=null").engine_arguments[
            "cuda_graph_config"
        ]
        is None
    )


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("engine.backend=tensorrt", ["'backend'", "engine."]),
        ("engine.max_seq_len=4096", ["use --max-context"]),
        ("engine.max_batch_size=8", ["use --concurrency"]),
        ("engine.context_parallel_size=2", ["is refused", "--tp times --pp GPUs"]),
        ("engine.guided_decoding_backend=outlines", ["one of xgrammar, llguidance"]),
        ("engine.strem_interval=4", ["engine.stream_interval"]),
        (
            "engine.kv_cache_config=5",
            ['a JSON object, such as {"attention_dp_events_gather_period_ms": ...}'],
        ),
        ("engine.kv_cache_config=null", ["a JSON object"]),
        ("engine.kv_cache_config={", ["a JSON object"]),
        ("""'engine.kv_cache_config={"nonsense": 3}'""", ["no field 'nonsense'", "enable_block_reuse"]),
        ("""'engine.kv_cache_config={"max_token": 3}'""", ["no field 'max_token'", "among max_tokens"]),
        ("""'engine.kv_cache_config={"dtype": "fp8"}'""", [": dtype", "use --kv-cache"]),
        ("""'engine.kv_cache_config={"max_tokens": 9}'""", [": max_tokens", "--concurrency"]),
        (
            """'engine.kv_cache_config={"free_gpu_memory_fraction": 0.5}'""",
            [": free_gpu_memory_fraction", "--concurrency and --max-context"],
        ),
        ("""'engine.kv_cache_config={"max_gpu_total_bytes": 9}'""", [": max_gpu_total", "--concurrency"]),
        ("engine.kv_cache_config.dtype=fp8", ["use --kv-cache"]),
        ("engine.cuda_graph_config.batch_sizes=[1]", ["nothing named", "engine.cuda_graph_config"]),
        ("engine.cuda_graph_config=[4]", ['such as {"batch_sizes": ...}, or null']),
        ("engine.speculative_config=NGram", ["a JSON object, such as {...}, or null"]),
    ],
)
def test_a_setting_that_the_library_does_not_take(setting: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        planned("llama-8b", f"{GPU} --set {setting}")
    assert all(word in str(refused.value) for word in words), refused.value


def test_the_newest_container_that_holds_the_library_is_planned_for() -> None:
    container = planned("llama-8b", GPU).container
    assert (container.tag, container.tensorrtllm) == ("26.07", "1.2.1")
    assert planned("llama-8b", f"{GPU} --triton 25.10").container.tensorrtllm == "1.0.0"


@pytest.mark.parametrize("tag", ["26.08", "25.06", "24.10"])
def test_a_container_without_the_llm_api_is_refused(tag: str) -> None:
    with pytest.raises(UsageError) as refused:
        planned("llama-8b", f"{GPU} --triton {tag}")
    assert f"--triton {tag}" in refused.value.found
    able = ["25.09", "25.10", "25.11", "25.12", *(f"26.0{month}" for month in range(1, 8))]
    assert str(refused.value.expected) == f"one of {', '.join(able)}"


def test_containers_are_compared_as_versions() -> None:
    assert versions.holding("vllm", (0, 17)) == ("26.03", "26.04", "26.05", "26.06", "26.07", "26.08")
    assert versions.holding("vllm", (0, 17), below=(0, 22)) == ("26.03", "26.04", "26.05")
    assert versions.holding("tensorrtllm", (1, 2, 1)) == ("26.04", "26.05", "26.06", "26.07")
    assert versions.holding("tensorrtllm", (2,)) == ()


def test_a_build_without_the_library_says_what_brings_it() -> None:
    from builder.convert import require_libraries

    with pytest.raises(ConversionError) as refused:
        require_libraries(planned("llama-8b", GPU))
    assert "target llmapi needs builder[llmapi]" in refused.value.found
    assert refused.value.remedy == "pip install 'builder[llmapi]'"


@pytest.mark.parametrize(
    ("algorithm", "card", "refused"),
    [
        ("FP8", "h200", None),
        ("NVFP4", "b200", None),
        ("NVFP4", "h200", "compute capability 9.0"),
        ("FP8_PB_WO", "h200", "--target vllm"),
    ],
)
def test_modelopt_s_weights_are_served_as_they_lie(algorithm: str, card: str, refused: str | None) -> None:
    told = {"quant_method": "modelopt", "quant_algo": algorithm, "kv_cache_quant_algo": "FP8"}
    model = dataclasses.replace(subject("llama-8b"), stored=modelopt.read(told))
    line = options(f"--gpu {card} --target llmapi --max-context 4096")
    if refused is not None:
        with pytest.raises(UsageError, match=refused):
            plan(model, line)
        return
    told = dict(plan(model, line).engine_arguments)
    assert (told["dtype"], told["kv_cache_config"]["dtype"]) == ("bfloat16", "fp8")


def test_the_cache_is_kept_as_asked() -> None:
    assert planned("llama-8b", f"{GPU} --kv-cache fp8").engine_arguments["kv_cache_config"]["dtype"] == "fp8"
    with pytest.raises(UsageError, match="--kv-cache fp16"):
        planned("llama-8b", f"{GPU} --kv-cache fp16")


def test_it_runs_on_gpus_alone() -> None:
    with pytest.raises(UsageError, match="name a GPU with --gpu"):
        planned("llama-8b", "--target llmapi")
