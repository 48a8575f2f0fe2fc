"""The scripted deployments, and one pool in which mutants are booted two at a time."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import judging
import scripted_pipelines
import scripted_repository
from mutants import Mutant

from builder.report import Report


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The deployment as it was written; nobody serves from this folder."""
    repository = tmp_path_factory.mktemp("scripted") / "repository"
    scripted_repository.write(repository)
    return repository


@pytest.fixture(scope="session")
def written(scripted: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of a deployment by its name: one that generates, the others of one pass."""
    home = tmp_path_factory.mktemp("single_pass")
    for name in scripted_pipelines.DEPLOYMENTS:
        scripted_pipelines.write(home / name, [name])
    return lambda name: scripted if name == scripted_repository.NAME else home / name


@pytest.fixture(scope="session")
def verdict(
    request: pytest.FixtureRequest, written: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Mutant], Report]]:
    """Give what verify says about a mutant; all that this session asks for start at once, two at a time."""
    chosen: list[Mutant] = [
        item.callspec.params["mutant"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and "mutant" in item.callspec.params
        and "verdict" in item.fixturenames
    ]
    # in threads the syntax trees that `builder check` reads would fail now and then under Python 3.11:
    # https://github.com/python/cpython/issues/106905
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        futures: dict[str, Future[Report]] = {}
        for mutant in chosen:
            repository = tmp_path_factory.mktemp("mutant") / "repository"
            futures[mutant.name] = pool.submit(judging.judge, mutant, written(mutant.deployment), repository)
        yield lambda mutant: futures[mutant.name].result()
        pool.shutdown(cancel_futures=True)
