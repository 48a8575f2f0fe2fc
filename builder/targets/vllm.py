"""vLLM runs the checkpoint as it is, on one or several GPUs: nothing is converted, much is planned."""

from __future__ import annotations

import sys
import tomllib
from math import ceil
from typing import Any

from builder import house, quantization
from builder.architecture import Dimensions
from builder.deploying import images
from builder.exporting import rounding
from builder.planning import adapters
from builder.planning.memory import GIB, USABLE
from builder.speculation import FOLDER, Speculation
from builder.target import Job, Placed

TITLE = "vLLM"
PIPELINES = ("text_generation",)
ENGINES = {"gpu": ("vllm",)}
ACCELERATORS: dict[str, tuple[str, ...]] = {}
WITNESS = "vllm"
STRINGS = True
SPANS_GPUS = True
EXPERTS = True
EXPERT_SETTING = "engine.enable_expert_parallel=true"
ADAPTERS = True
PAGED_CACHE = True
SETTABLE = tomllib.loads((house.folder("data") / "vllm_arguments.toml").read_text(encoding="utf-8"))
TOOLS = ("vllm", "transformers", "torch", "tokenizers")
REQUIREMENTS = {"vllm": "builder[vllm]", "transformers": "builder[convert]", "torch": "builder[convert]"}
NEEDS = images.needs("vllm")

MOST_TOKENS_A_STEP = 8192
MOST_ON_SMALL_GPUS = 2048
LARGE_GPU = 70 * GIB
"""Of prompts and answers together: enough to fill a GPU, and a step in which prompts are read stays short.
What is computed of them must fit beside the cache: logits of a prompt that is scored take 6 bytes for each
token and word, 1.6 GB of 2,048 tokens at a vocabulary of 128k. vLLM's own defaults differ likewise
(engine/arg_utils.py of 0.22)."""

CACHE_TYPES = {"bf16": "bfloat16", "fp16": "float16", "fp8": "fp8_e4m3", "int8": "int8_per_token_head"}
"""Those of CacheDType (vLLM 0.22, config/cache.py) that keep a number of a known size."""

SPECULATION = ("speculative_config", "spec_method", "spec_model", "spec_tokens")

_TYPES = {"bf16": "bfloat16", "fp16": "float16"}


def engine_arguments(placed: Placed) -> dict[str, Any]:
    """Return fields of vllm.EngineArgs (0.22): the cache in bytes, as planned, not as a share of the GPU."""
    cache = {"kv_cache_dtype": CACHE_TYPES[placed.cache_type]} if placed.cache_type else {}
    return {
        "dtype": _TYPES[placed.precision],
        "max_model_len": placed.memory.context,
        "max_num_seqs": placed.concurrency,
        "max_num_batched_tokens": _tokens_a_step(placed),
        "kv_cache_memory_bytes": placed.memory.cache,
        **cache,
        **({"speculative_config": _speculative(placed.speculation)} if placed.speculation else {}),
        "gpu_memory_utilization": _share(placed),
        "enable_chunked_prefill": True,
        "enable_prefix_caching": True,
        # a heap instead of a queue: nothing beside a step, and equals keep the order of their coming
        "scheduling_policy": "priority",
        "tensor_parallel_size": placed.split.tensor,
        "pipeline_parallel_size": placed.split.pipeline,
        # the front tells each request how to sample and where to stop
        "generation_config": "vllm",
        **adapters.engine_arguments(placed.adapters),
    }


def _tokens_a_step(placed: Placed) -> int:
    large = (placed.memory.total or 0) >= LARGE_GPU
    usual = MOST_TOKENS_A_STEP if large else MOST_ON_SMALL_GPUS
    return max(usual, placed.concurrency) + _slots(placed)


def _share(placed: Placed) -> float:
    """Return the share of the GPU that must be free at the start, so that several models fit side by side."""
    total = placed.memory.total
    return min(float(USABLE), ceil(100 * placed.memory.used / total) / 100) if total else float(USABLE)


def _slots(placed: Placed) -> int:
    """Return how many tokens of a step a draft takes: one of each sequence (0.22, config/vllm.py)."""
    return placed.concurrency if placed.speculation and placed.speculation.draft else 0


def _speculative(asked: Speculation) -> dict[str, Any]:
    """Return fields of SpeculativeConfig (0.22, config/speculative.py).

    The draft's folder is relative: the engine finds it in its version.
    """
    if asked.ngram is None:
        return {"method": "draft_model", "model": FOLDER, "num_speculative_tokens": asked.tokens}
    shortest, longest = asked.ngram
    return {
        "method": "ngram",
        "num_speculative_tokens": asked.tokens,
        "prompt_lookup_min": shortest,
        "prompt_lookup_max": longest,
    }


def convert(job: Job) -> list[str]:
    """Return what lays the checkpoint's files together, as links where the disk is the same.

    Where a converter of ours rounds, that one's: it writes a checkpoint as vLLM reads it.
    """
    if not job.stored and quantization.converter(job.quantization, "vllm"):
        return rounding.command(job, "vllm")
    return [sys.executable, "-m", "builder.exporting.checkpoint", str(job.checkpoint), str(job.out)]


def progress(log: str, dimensions: Dimensions) -> float:
    """Return the share of layers that are rounded; linking takes no time, copying as long as the disk."""
    return rounding.share(log)
