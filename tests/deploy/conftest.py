"""Repositories to deploy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "verifications"))

import scripted_repository

ROOT = Path(__file__).resolve().parents[2]

CONFIG = """
backend: "python"
max_batch_size: {batch}
input {{ name: "{name}" data_type: {kind} dims: {dims} }}
output {{ name: "out" data_type: TYPE_FP32 dims: 1 }}
instance_group {{ {instances} }}
"""
CODE = (
    "import triton_python_backend_utils\n\n\nclass TritonPythonModel:\n    def execute(self, requests): ...\n"
)


@pytest.fixture(scope="session")
def default() -> Path:
    """The committed repository of this clone."""
    return ROOT / "model_repository"


@pytest.fixture
def scripted(tmp_path: Path) -> Path:
    """A deployment of real Python models whose engine is a script; it can be served."""
    repository = tmp_path / "scripted"
    scripted_repository.write(repository)
    return repository


@pytest.fixture
def handmade(tmp_path: Path) -> Callable[..., Path]:
    """Write one Python model by hand, without a manifest; gives its repository."""

    def make(
        model: str = "scorer",
        *,
        name: str = "x",
        kind: str = "TYPE_FP32",
        dims: str = "[2, -1]",
        batch: int = 0,
        instances: str = "kind: KIND_CPU",
        code: str = CODE,
    ) -> Path:
        folder = tmp_path / "handmade"
        version = folder / model / "1"
        version.mkdir(parents=True)
        text = CONFIG.format(name=name, kind=kind, dims=dims, batch=batch, instances=instances)
        (folder / model / "config.pbtxt").write_text(text)
        (version / "model.py").write_text(code)
        return folder

    return make
