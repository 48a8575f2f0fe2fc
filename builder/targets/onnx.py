"""Decoders as ONNX, built by onnxruntime-genai; run by ONNX Runtime.

Its model builder writes the graph straight from the weights, without tracing; it runs in a child
process so that its memory returns and its prints go to a log.
"""

from __future__ import annotations

import sys
from typing import Any

from builder import quantization
from builder.architecture import Dimensions
from builder.exporting import rounding
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
    """Return the model builder's command; the quantization is its precision, where that names no other.

    Where a converter of ours rounds first, that one's, which the model builder's is handed to.
    """
    options = dict(argument.split("=", 1) for argument in job.arguments)
    precision = options.pop("precision", job.quantization)
    rounds = not job.stored and bool(quantization.converter(job.quantization, "onnx"))
    command = [
        *(sys.executable, "-m", "onnxruntime_genai.models.builder"),
        *(() if rounds else ("--input", str(job.checkpoint))),
        *("--output", str(job.out)),
        *("--precision", precision, "--execution_provider", _PROVIDERS[job.device]),
        *("--cache_dir", str(job.out.parent / "scratch")),
        *(("--extra_options", *(f"{name}={value}" for name, value in options.items())) if options else ()),
    ]
    return rounding.command(job, "onnx", command) if rounds else command


def progress(log: str, dimensions: Dimensions) -> float:
    """Return the share done: the builder prints a line for each layer it reads.

    Rounding by texts, which comes before, takes nearly all of the time.
    """
    built = log.count("decoder layer") / (dimensions.layers + 1)
    return min(0.99, rounding.share(log) + (1 - rounding.SHARE) * built if rounding.share(log) else built)
