"""GGUF by llama.cpp on a CPU: K-quants, and what mixes them tensor by tensor.

The checkpoint is written as a GGUF in its own numbers, which llama.cpp's quantiser rounds, both in a child
process. llama.cpp comes with cyllama, whose wheels need no compiler.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder import files
from builder.architecture import Dimensions
from builder.gguf import writing
from builder.target import Job, Placed

TITLE = "GGUF by llama.cpp"
PIPELINES = ("text_generation",)
ENGINES = {"cpu": ("llamacpp",)}
ACCELERATORS: dict[str, tuple[str, ...]] = {}
WITNESS = "llamacpp"
STRINGS = True
SPANS_GPUS = False
PAGED_CACHE = False
SETTABLE = {"threads": "int", "cache_type": "f32|f16"}
TOOLS = ("cyllama", "gguf", "safetensors", "torch", "transformers", "numpy", "tokenizers")
REQUIREMENTS = {
    "cyllama": "builder[llamacpp]",
    "gguf": "builder[convert]",
    "torch": "builder[convert]",
    "transformers": "builder[convert]",
}

CACHE_TYPES = {"int8": "q8_0"}
_CACHES = {"fp32": "f32"}

PROCESS_BYTES = 148 << 20
"""What the engine's process takes besides weights, cache and logits: interpreter, libraries, tokenizer.
About 134 MiB were seen at the most (smollm2, Python 3.11)."""

MOST_TOKENS = 256
"""That one run of the engine computes, unless more sequences step together (backends/engine)."""

MOST_SCORED = 64
"""Tokens of it whose logits the library hands out at once."""


def engine_arguments(placed: Placed) -> dict[str, Any]:
    """Return the threads, 0 for one of each core, and what keys and values are kept in."""
    usual = _CACHES.get(placed.precision, "f16")
    return {"threads": 0, "cache_type": CACHE_TYPES.get(placed.cache_type, usual)}


def require_config(config: Mapping[str, Any]) -> None:
    """Raise ConversionError for a model that a GGUF cannot tell of."""
    writing.require(config)


def runtime_bytes(dimensions: Dimensions, context: int, concurrency: int) -> int:
    """Return the most that the engine's process takes besides weights and cache.

    In float32: the logits that a run computes, as the library hands them out, and of a whole piece of a
    prompt that is scored; of each token four copies of the hidden state and three of the feed-forward
    network, and what it may look at, twice. The library reserves room for the logits of every token of a run,
    which is never touched, since they are wanted of few at once.
    """
    most, wanted = max(MOST_TOKENS, concurrency), max(MOST_SCORED, concurrency)
    logits = 2 * wanted + most
    states = 4 * dimensions.hidden_size + 3 * dimensions.intermediate_size + 2 * context
    return PROCESS_BYTES + 4 * (logits * dimensions.vocabulary_size + most * states)


def convert(job: Job) -> list[str]:
    """Return the exporter's command; what it is asked lies in a file beside the artifact."""
    request = Path(job.out.parent / "request.json")
    job.out.mkdir(parents=True, exist_ok=True)
    # a mixture of types has no name that llama.cpp knows
    kind = job.arguments[0] if job.arguments else ""
    asked = {"source": str(job.checkpoint), "out": str(job.out), "type": kind, "types": dict(job.types)}
    files.write_json(request, asked)
    return [sys.executable, "-m", "builder.exporting.llamacpp", str(request)]


def progress(log: str, dimensions: Any) -> float:
    """Return the share done, as the exporter prints it: to write takes as long as to round."""
    written, rounded = (re.findall(rf"{what} (\d+)/(\d+)", log) for what in ("written", "rounded"))
    share = sum(int(steps[-1][0]) / int(steps[-1][1]) for steps in (written, rounded) if steps)
    return min(0.99, share / 2)
