"""Models that answer in one pass, as one ONNX graph that Triton's own onnxruntime backend runs.

The graph is written by the exporter of the model's family, in a child process. The embedded server has no
such backend; there the Python-based one of backends/onnxruntime serves the same folder.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from builder import files
from builder.planning.resolving import Needs
from builder.target import Job, Placed

TITLE = "ONNX by Triton's onnxruntime backend"
PIPELINES = (
    "embedding",
    "classification",
    "token_classification",
    "reranking",
    "image_classification",
    "tabular",
    "tensors",
)
ENGINES = {"cpu": ("onnxruntime",), "gpu": ("onnxruntime",)}
ACCELERATORS = {"cpu": ("openvino",), "gpu": ("tensorrt", "cuda")}
WITNESS = "onnxruntime"
STRINGS = True
SPANS_GPUS = False
PAGED_CACHE = False
SETTABLE: dict[str, str] = {}
TOOLS = (
    "onnxruntime",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "torch",
    "transformers",
    "numpy",
    "scikit-learn",
    "skl2onnx",
    "onnxmltools",
    "xgboost",
    "lightgbm",
)
REQUIREMENTS = dict.fromkeys(("onnxruntime", "onnx", "onnxscript"), "builder[encoders]")
NEEDS = Needs(library="onnxruntime", graph="onnxruntime", embedded=True)


def engine_arguments(placed: Placed) -> dict[str, Any]:
    """Return the backend's parameters, none: ONNX Runtime's own defaults were the fastest."""
    return {}


def convert(job: Job) -> list[str]:
    """Return the exporter's command; what it is asked lies in a file beside the artifact."""
    # TensorRT reads the operators of the standard alone
    fused = job.device == "gpu" and "tensorrt" not in job.accelerators
    return exporter(job, strings=STRINGS, fused=fused)


def exporter(job: Job, *, strings: bool, fused: bool) -> list[str]:
    """Return the command of a graph with or without `strings` among its outputs, and `fused` operators."""
    request = Path(job.out.parent / "request.json")
    job.out.mkdir(parents=True, exist_ok=True)
    files.write_json(
        request,
        {
            "source": str(job.checkpoint),
            "pipeline": job.pipeline,
            "precision": job.quantization,
            "most": job.settings.get("max_tokens", 1),
            "labels": list(job.settings.get("labels", ())),
            "strings": strings,
            "output": job.main,
            "image": list(job.image),
            "device": job.device,
            "fused": fused,
            "onnxruntime": job.runtime,
            "out": str(job.out),
        },
    )
    return [sys.executable, "-m", f"builder.exporting.{job.exporter}", str(request)]


def progress(log: str, dimensions: Any) -> float:
    """Return the share done, as the exporter prints it."""
    steps = re.findall(r"exported (\d+)/(\d+)", log)
    return min(0.99, int(steps[-1][0]) / int(steps[-1][1])) if steps else 0.0
