"""What an engine of a plan is told: flags of `trtllm-build` and parameters of the backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.architecture import Dimensions
from builder.errors import UsageError
from builder.inflight_batcher import adapters, numbers, windows
from builder.planning.memory import USABLE
from builder.target import Placed

MOST_TOKENS_A_STEP = 8192
"""Of prompts and answers together: longer prompts are read in several steps."""

FLOAT8 = ("fp8",)
"""Ways of `ranks/quantizations/` whose matrices FLOAT8_KERNELS multiply: these need scales of inputs and of
weights in the checkpoint (TensorRT-LLM 1.2, plugin/plugin.py)."""

FLOAT8_KERNELS = ("gemm_plugin", "gemm_swiglu_plugin", "low_latency_gemm_plugin")

FLOAT8_ATTENTION = ("fp8", "w4a8_awq")
"""Those beside which trtllm-build keeps attention in FP8 (1.2, builder.py); of others it turns that off."""


def of(placed: Placed) -> dict[str, Any]:
    """Return flags of trtllm-build and parameters of the backend by their names, and the `vocabulary`.

    The cache is planned in tokens; of that and a share of what is free the smaller counts.

    Raises UsageError or PlanError for numbers that engines do not keep so.
    """
    numbers.require(placed)
    sizes: Dimensions = placed.dimensions
    context = placed.memory.context
    every = placed.concurrency * context
    in_parts = _reads_in_parts(placed)
    return {
        "vocabulary": sizes.vocabulary_size,
        "guided": True,
        "max_batch_size": placed.concurrency,
        "max_input_len": context,
        "max_seq_len": context,
        "max_num_tokens": min(max(MOST_TOKENS_A_STEP, placed.concurrency), every),
        "max_beam_width": 1,
        "kv_cache_type": "paged",
        **_kernels(placed),
        "use_paged_context_fmha": "enable" if in_parts else "disable",
        # it is built on one of them
        "workers": placed.split.gpus_per_host,
        "max_tokens_in_paged_kv_cache": placed.memory.tokens,
        "kv_cache_free_gpu_mem_fraction": float(USABLE),
        "enable_kv_cache_reuse": in_parts,
        "enable_chunked_context": in_parts,
        "batch_scheduler_policy": "guaranteed_no_evict",
        **_window(placed),
        **adapters.engine_arguments(placed),
    }


def _kernels(placed: Placed) -> dict[str, Any]:
    """Return who multiplies matrices, and whether attention over a prompt is computed in FP8.

    cuBLASLt is faster in 16 bits, TensorRT's own kernels are in FP8 (NVIDIA's guide to build flags).
    """
    return {
        "gemm_plugin": "disable" if numbers.method(placed) == "fp8" else "auto",
        "use_fp8_context_fmha": "enable" if _attends_in_float8(placed) else "disable",
    }


def _attends_in_float8(placed: Placed) -> bool:
    return numbers.method(placed) in FLOAT8_ATTENTION and _float8_cache(placed)


def _reads_in_parts(placed: Placed) -> bool:
    """Say whether a prompt may begin in the cache, by its prefix or by what was read of it before.

    Pages of FP8 are read so by attention in FP8 alone: beside another trtllm-build turns it off (1.2,
    builder.py), and the backend then reads each prompt in one step.
    """
    return _attends_in_float8(placed) or not _float8_cache(placed)


def _float8_cache(placed: Placed) -> bool:
    """Say whether keys and values are kept in FP8, which attention in FP8 reads and writes.

    `--quantize fp8` does so in any case, checkpoints of others only where they were calibrated for it.
    """
    return placed.cache_type == "fp8" or (numbers.method(placed) == "fp8" and placed.stored is None)


def _window(placed: Placed) -> dict[str, Any]:
    """Return how far layers see, where that is less than a text is long."""
    found = windows.planned(placed.config, placed.memory.context)
    return {windows.NAME: found} if found else {}


def require(placed: Placed, told: Mapping[str, Any]) -> None:
    """Raise UsageError for what was set and is not for this model: windows, and kernels that read FP8."""
    windows.require(placed.config, told)
    if numbers.method(placed) not in FLOAT8:
        for name in FLOAT8_KERNELS:
            if told.get(name) == "fp8":
                raise UsageError(
                    f"engine.{name}=fp8: weights are {placed.precision}, and it multiplies those of FP8",
                    expected="--quantize fp8, whose scales are measured",
                    remedy=f"leave --set engine.{name} out",
                )
    _require_attention(placed, told)
    _require_pages(placed, told)


def _require_pages(placed: Placed, told: Mapping[str, Any]) -> None:
    """Raise UsageError for reading in parts that trtllm-build turns off, and for prompts beyond a step."""
    if told["use_paged_context_fmha"] == "enable":
        if _float8_cache(placed) and told["use_fp8_context_fmha"] != "enable":
            raise UsageError(
                "engine.use_paged_context_fmha=enable beside an FP8 cache and attention that is not in FP8",
                expected="engine.use_fp8_context_fmha=enable: trtllm-build turns the other off without it",
                remedy="leave both to the plan",
            )
        return
    longest, step = told["max_input_len"], told["max_num_tokens"]
    if longest > step:
        raise UsageError(
            f"prompts have up to {longest} tokens and a step {step}: without paged context FMHA, which "
            "reads an FP8 cache in attention in FP8 alone, a prompt is read in one step",
            expected=f"--max-context {step} at most, or steps of {longest}",
            remedy=f"use --max-context {step}, --set engine.max_num_tokens={longest}, or --quantize fp8 or "
            "w4a8_awq, or leave --kv-cache fp8 out",
        )


def _require_attention(placed: Placed, told: Mapping[str, Any]) -> None:
    """Raise UsageError for attention in FP8 that trtllm-build would leave out, and not fail (builder.py)."""
    if told["use_fp8_context_fmha"] != "enable":
        return
    kept = (numbers.method(placed) == "fp8" and placed.stored is None) or placed.cache_type == "fp8"
    if numbers.method(placed) not in FLOAT8_ATTENTION or not kept:
        raise UsageError(
            f"engine.use_fp8_context_fmha=enable: the model is {placed.precision}"
            + ("" if kept else ", and its cache not FP8"),
            expected="--quantize fp8, or w4a8_awq with --kv-cache fp8: it reads keys and values in FP8",
            remedy="leave --set engine.use_fp8_context_fmha out",
        )
