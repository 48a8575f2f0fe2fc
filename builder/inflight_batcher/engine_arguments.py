"""What an engine of a plan is told: flags of `trtllm-build` and parameters of the backend."""

from __future__ import annotations

from typing import Any

from builder.architecture import Dimensions
from builder.inflight_batcher import adapters, numbers
from builder.planning.memory import USABLE
from builder.target import Placed

MOST_TOKENS_A_STEP = 8192
"""Of prompts and answers together: longer prompts are read in several steps."""


def of(placed: Placed) -> dict[str, Any]:
    """Return flags of trtllm-build and parameters of the backend by their names, and the `vocabulary`.

    The cache is planned in tokens; of that and a share of what is free the smaller counts.

    Raises UsageError or PlanError for numbers that engines do not keep so.
    """
    numbers.require(placed)
    sizes: Dimensions = placed.dimensions
    every = placed.concurrency * placed.memory.context
    return {
        "vocabulary": sizes.vocabulary_size,
        "guided": True,
        "max_batch_size": placed.concurrency,
        "max_input_len": placed.memory.context,
        "max_seq_len": placed.memory.context,
        "max_num_tokens": min(max(MOST_TOKENS_A_STEP, placed.concurrency), every),
        "max_beam_width": 1,
        "kv_cache_type": "paged",
        **_kernels(placed),
        "use_paged_context_fmha": "enable",
        # it is built on one of them
        "workers": placed.split.gpus_per_host,
        "max_tokens_in_paged_kv_cache": placed.memory.tokens,
        "kv_cache_free_gpu_mem_fraction": float(USABLE),
        "enable_kv_cache_reuse": True,
        "enable_chunked_context": True,
        "batch_scheduler_policy": "guaranteed_no_evict",
        **_window(sizes, placed.memory.context),
        **adapters.engine_arguments(placed),
    }


def _kernels(placed: Placed) -> dict[str, Any]:
    """Return who multiplies matrices, and whether attention over a prompt is computed in FP8.

    cuBLASLt is faster in 16 bits, TensorRT's own kernels are in FP8 (NVIDIA's guide to build flags), where
    attention is too.
    """
    eight_bits = numbers.method(placed) == "fp8"
    # such an attention reads and writes a cache of FP8, which checkpoints of others may not have
    cache = placed.stored is None or placed.cache_type == "fp8"
    return {
        "gemm_plugin": "disable" if eight_bits else "auto",
        "use_fp8_context_fmha": "enable" if eight_bits and cache else "disable",
    }


def _window(sizes: Dimensions, context: int) -> dict[str, Any]:
    """Return the window of all layers, as Mistral's; `engine_files` sees whether that is all."""
    window = sizes.sliding_window
    return {} if window is None or window >= context else {"max_attention_window_size": [window]}
