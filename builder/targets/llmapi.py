"""TensorRT-LLM's LLM API runs the checkpoint as it is, on one or several GPUs, by its PyTorch backend.

No engine is built: NVIDIA has removed that way from TensorRT-LLM, this one is in every version from 1.0 on.
What is planned are fields of TorchLlmArgs (llmapi/llm_args.py) that 1.0 to 1.4 all take.
"""

from __future__ import annotations

import sys
import tomllib
from typing import Any

from builder import house
from builder.architecture import Dimensions
from builder.deploying import images
from builder.planning.memory import USABLE
from builder.target import Job, Placed

TITLE = "TensorRT-LLM's LLM API"
PIPELINES = ("text_generation",)
ENGINES = {"gpu": ("tensorrt_llm",)}
ACCELERATORS: dict[str, tuple[str, ...]] = {}
WITNESS = "tensorrt_llm"
STRINGS = True
SPANS_GPUS = True
EXPERTS = True
EXPERT_SETTING = "engine.moe_expert_parallel_size={groups}"
PAGED_CACHE = True
SETTABLE = tomllib.loads((house.folder("data") / "llmapi_arguments.toml").read_text(encoding="utf-8"))
TOOLS = ("tensorrt_llm", "transformers", "torch", "tokenizers")
REQUIREMENTS = {
    "tensorrt_llm": "builder[llmapi]",
    "transformers": "builder[convert]",
    "torch": "builder[convert]",
}
NEEDS = images.needs("tensorrt_llm")

MOST_TOKENS_A_STEP = 8192
"""Of prompts and answers together: longer prompts are read in several steps."""

CACHE_TYPES = {"fp8": "fp8"}
"""KvCacheConfig.dtype; what is computed in is kept where nothing is said."""

_TYPES = {"bf16": "bfloat16", "fp16": "float16"}


def engine_arguments(placed: Placed) -> dict[str, Any]:
    """Return arguments of tensorrt_llm.llmapi.LLM: the cache in tokens, as planned."""
    return {
        # 1.0 changed what is meant where nothing is said
        "backend": "pytorch",
        "dtype": _TYPES.get(placed.precision, "auto"),
        "max_seq_len": placed.memory.context,
        "max_batch_size": placed.concurrency,
        "max_num_tokens": max(MOST_TOKENS_A_STEP, placed.concurrency),
        "kv_cache_config": {
            "max_tokens": placed.memory.tokens,
            # of what is free once the weights are there; the smaller of both counts
            "free_gpu_memory_fraction": float(USABLE),
            "enable_block_reuse": True,
            "dtype": CACHE_TYPES.get(placed.cache_type, "auto"),
        },
        "cuda_graph_config": {"max_batch_size": placed.concurrency, "enable_padding": True},
        "enable_chunked_prefill": True,
        "guided_decoding_backend": "xgrammar",
        "tensor_parallel_size": placed.split.tensor,
        "pipeline_parallel_size": placed.split.pipeline,
    }


def convert(job: Job) -> list[str]:
    """Return what lays the checkpoint's files together, as links where the disk is the same."""
    return [sys.executable, "-m", "builder.exporting.checkpoint", str(job.checkpoint), str(job.out)]


def progress(log: str, dimensions: Dimensions) -> float:
    """Return 0: linking takes no time, copying as long as the disk."""
    return 0.0
