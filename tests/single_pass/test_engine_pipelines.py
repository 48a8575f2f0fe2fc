"""What `--target tensorrt` publishes, served by Triton without an engine: ONNX Runtime runs the graph.

Everything but the engine is as it will be: names, shapes, batching, and the step that names labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("transformers")

import tiny_models

from builder import pipeline, verifying
from builder.plan import Options

pytestmark = [pytest.mark.triton, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def served_by_onnxruntime(repository: Path, name: str) -> None:
    """Let the graph's own folder be run by another backend, on a CPU."""
    config = repository / name / "config.pbtxt"
    text = config.read_text().replace('backend: "tensorrt"', 'backend: "onnxruntime"')
    config.write_text(re.sub(r"  gpus: 0\n  kind: KIND_GPU\n", "  kind: KIND_CPU\n", text))


@pytest.mark.parametrize("kind", ["classification", "image_classification"])
def test_labels_are_named_and_batches_answered_as_proven(
    kind: str, source: Callable[[str], Path], tmp_path: Path
) -> None:
    options = Options(target="tensorrt", gpu="h200", concurrency=8)
    built = pipeline.build("tiny", tmp_path, options, checkpoint=str(source(kind)), verifying=False)
    served_by_onnxruntime(tmp_path, built.plan.graph.name)
    report = verifying.run(tmp_path, progress=lambda doing, share: None)
    assert report.passed, [(row.name, row.detail) for row in report.failures]
    assert {"label", "scores"} <= {tensor.name for tensor in built.plan.front.outputs}
    assert tiny_models.LABELS[kind]
