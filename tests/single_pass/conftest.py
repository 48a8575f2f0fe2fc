"""Tiny models, built once a session by the command line, and one at a time served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_models
from one_pass_commands import Addresses, Shell

from builder import serve


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give what the model of a pipeline is built from; each is written once."""
    folder = tmp_path_factory.mktemp("sources")
    made: dict[str, Path] = {}

    def give(pipeline: str) -> Path:
        if pipeline not in made:
            made[pipeline] = _write(folder, pipeline)
        return made[pipeline]

    return give


def _write(folder: Path, pipeline: str) -> Path:
    if pipeline == "tensors":
        return tiny_models.graph(folder / "totals.onnx")
    if pipeline == "tabular":
        return tiny_models.mixed(folder / "mixed.pkl")[0]
    family = "vit" if pipeline == "image_classification" else "bert"
    return tiny_models.write(folder / pipeline, family, pipeline)


@pytest.fixture(scope="session")
def built(
    shell: Shell, source: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, str]]:
    """Give the repository in which a pipeline's model, called `tiny`, was published, and what was printed."""
    folder = tmp_path_factory.mktemp("repositories")
    said: dict[str, str] = {}

    def give(pipeline: str) -> tuple[Path, str]:
        if pipeline not in said:
            trust = ["--trust-pickle"] if pipeline == "tabular" else []
            options = ["--checkpoint", source(pipeline), "--concurrency", "8", "--output", folder / pipeline]
            said[pipeline] = shell.build("tiny", *options, *trust)
        return folder / pipeline, said[pipeline]

    return give


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, built: Callable[[str], tuple[Path, str]]) -> Iterator[Addresses]:
    """Serve the model of the pipeline that the test names; pytest groups the tests by it."""
    server = serve.boot(built(request.param)[0])
    yield Addresses(server.http, server.grpc)
    server.kill()
