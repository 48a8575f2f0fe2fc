"""Decoders as ONNX, built by onnxruntime-genai; run by ONNX Runtime.

Its model builder writes the graph straight from the weights, without tracing; it runs in a child
process so that its memory returns and its prints go to a log.
"""

from __future__ import annotations

import sys
from typing import Any

from builder.architecture import Dimensions
from builder.target import Job, Placed

TITLE = "ONNX by onnxruntime-genai"
PIPELINES = ("text_generation",)
ENGINES = {"cpu": ("onnxruntime", "onnxruntime_genai"), "gpu": ("onnxruntime",)}
ACCELERATORS: dict[str, tuple[str, ...]] = {}
WITNESS = "onnxruntime_genai"
STRINGS = True
SPANS_GPUS = False
PAGED_CACHE = False
SETTABLE = {"threads": "int"}
TOOLS = (
    "onnxruntime-genai",
    "onnx-ir",
    "gguf",
    "torch",
    "transformers",
    "numpy",
    "tokenizers",
)
REQUIREMENTS = {
    "onnxruntime_genai": "builder[onnx]",
    "torch": "builder[convert]",
    "transformers": "builder[convert]",
    "gguf": "builder[convert]",
}

_PROVIDERS = {"cpu": "cpu", "gpu": "cuda"}


def engine_arguments(placed: Placed) -> dict[str, Any]:
    """Return the provider; 0 threads leaves their number to ONNX Runtime."""
    return {"provider": _PROVIDERS[placed.device], "threads": 0}


def convert(job: Job) -> list[str]:
    """Return the model builder's command; the quantization is its precision."""
    command = [
        *(sys.executable, "-m", "onnxruntime_genai.models.builder"),
        *("--input", str(job.checkpoint), "--output", str(job.out)),
        *("--precision", job.quantization, "--execution_provider", _PROVIDERS[job.device]),
        *("--cache_dir", str(job.out.parent / "scratch")),
    ]
    return [*command, "--extra_options", *job.arguments] if job.arguments else command


def progress(log: str, dimensions: Dimensions) -> float:
    """Return the share done: the builder prints a line for each layer it reads."""
    return min(0.99, log.count("decoder layer") / (dimensions.layers + 1))
