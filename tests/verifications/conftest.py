"""The scripted deployment, and one pool in which mutants are booted two at a time."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import scripted_repository
from mutants import Mutant

from builder.report import Report
from builder.serve import boot as boot_server
from builder.verify import verify


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The deployment as it was written; nobody serves from this folder."""
    repository = tmp_path_factory.mktemp("scripted") / "repository"
    scripted_repository.write(repository)
    return repository


@pytest.fixture(scope="session")
def verdict(
    request: pytest.FixtureRequest, scripted: Path, tmp_path_factory: pytest.TempPathFactory
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

    def judge(mutant: Mutant) -> Report:
        repository = tmp_path_factory.mktemp("mutant") / "repository"
        shutil.copytree(scripted, repository)
        for patch in mutant.patches:
            patch.apply(repository)
        server = boot_server(repository)
        try:
            return verify(
                scripted, server.http, server.grpc, server.metrics, only=mutant.kills, check_seconds=30
            )
        finally:
            # a mutant may be waiting for requests that never end
            server.kill()

    with ThreadPoolExecutor(2) as pool:
        futures: dict[str, Future[Report]] = {mutant.name: pool.submit(judge, mutant) for mutant in chosen}
        yield lambda mutant: futures[mutant.name].result()
        pool.shutdown(cancel_futures=True)
