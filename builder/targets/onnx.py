"""Decoders as ONNX, built by onnxruntime-genai; run by ONNX Runtime on a CPU, by onnxruntime-genai on a GPU.

Its model builder writes the graph straight from the weights, without tracing; it runs in a child
process so that its memory returns and its prints go to a log.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from builder.architecture import Dimensions

TITLE = "ONNX by onnxruntime-genai"
PIPELINE = "text_generation"
ENGINES = {"cpu": ("onnxruntime", "onnxruntime_genai"), "gpu": ("onnxruntime_genai",)}
WITNESS = "onnxruntime_genai"
SPANS_GPUS = False
BUILDS = True
REQUIREMENTS = {
    "onnxruntime_genai": "builder[onnx]",
    "torch": "builder[convert]",
    "transformers": "builder[convert]",
    "gguf": "builder[convert]",
}

_PROVIDERS = {"cpu": "cpu", "gpu": "cuda"}


def engine_arguments(device: str, dimensions: Dimensions) -> dict[str, Any]:
    """Return the provider; 0 threads leaves their number to ONNX Runtime."""
    return {"provider": _PROVIDERS[device], "threads": 0}


def convert(
    checkpoint: Path, quantization: str, arguments: tuple[str, ...], device: str, out: Path
) -> list[str]:
    """Return the model builder's command; `quantization` is its precision."""
    command = [
        *(sys.executable, "-m", "onnxruntime_genai.models.builder"),
        *("--input", str(checkpoint), "--output", str(out)),
        *("--precision", quantization, "--execution_provider", _PROVIDERS[device]),
        *("--cache_dir", str(out.parent / "scratch")),
    ]
    return [*command, "--extra_options", *arguments] if arguments else command


def progress(log: str, dimensions: Dimensions) -> float:
    """Return the share done: the builder prints a line for each layer it reads."""
    return min(0.99, log.count("decoder layer") / (dimensions.layers + 1))
