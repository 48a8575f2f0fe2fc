"""vLLM runs the checkpoint as it is, on one or several GPUs: nothing to convert.

Planned here so that memory and placement can be read before a purchase; its engine comes later.
"""

from __future__ import annotations

from typing import Any

from builder.architecture import Dimensions
from builder.errors import ConversionError
from builder.target import Job

TITLE = "vLLM"
PIPELINES = ("text_generation",)
ENGINES = {"gpu": ("vllm",)}
ACCELERATORS: dict[str, tuple[str, ...]] = {}
WITNESS = "vllm"
STRINGS = True
SPANS_GPUS = True
BUILDS = False
TOOLS: tuple[str, ...] = ()
REQUIREMENTS = {"vllm": "vllm"}


def engine_arguments(device: str, dimensions: Dimensions) -> dict[str, Any]:
    """Return nothing: this version plans vLLM's memory, not its arguments."""
    return {}


def convert(job: Job) -> list[str]:
    """Refuse: vLLM takes checkpoints, not artifacts."""
    raise ConversionError("target vllm has nothing to convert: it runs the checkpoint itself")


def progress(log: str, dimensions: Dimensions) -> float:
    """Return 1: there is nothing to wait for."""
    return 1.0
