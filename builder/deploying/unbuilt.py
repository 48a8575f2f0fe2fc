"""The engines of a repository that are yet to be built, and the service of compose that builds each."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from builder import compiling, engine_file
from builder.errors import RepositoryError
from builder.layout import Layout
from builder.target import Compilation

SERVICE = "engine-build"
"""The service, and the profile that keeps `docker compose up` from starting it."""

USER = 1000
"""Whom the service runs as where BUILDER_USER does not say otherwise."""

_NO_SERVICE = re.compile(r"[^a-zA-Z0-9._-]")


@dataclass(frozen=True)
class Unbuilt:
    """An engine whose source lies in `folder`, a version folder; `service` is the name of what builds it."""

    service: str
    folder: Path
    compilation: Compilation

    @property
    def entrypoint(self) -> tuple[str, ...]:
        """Return what runs the words of the planned command, and then puts the engine into its place."""
        return ("sh", "-euc", f'"$@"\n{compiling.finished(self.compilation)}', self.service)

    @property
    def command(self) -> tuple[str, ...]:
        """Return the planned command."""
        return (self.compilation.tool, *self.compilation.arguments)

    @property
    def setting(self) -> str:
        """Return what a shell sets before the service's command, where the folder is not that of USER."""
        return "" if self.folder.stat().st_uid == USER else 'BUILDER_USER="$(id -u):$(id -g)" '

    @property
    def shown(self) -> str:
        """Return how it is started where compose.yaml lies."""
        return shlex.join(("docker", "compose", "run", "--rm", self.service))


def unbuilt(repository: Layout) -> tuple[Unbuilt, ...]:
    """Return the engines that are not there, or not whole, of the newest versions.

    Raises RepositoryError for a broken record, and where an engine and what it is built of are both missing.
    """
    found = {}
    for name, model in repository.models.items():
        folder = model.path / str(max(model.served, default=0))
        planned = compiling.recorded(folder)
        if planned is None or _is_built(folder / planned.result, planned.ranks):
            continue
        if not _holds(folder / planned.source):
            raise RepositoryError(
                f"{folder} holds neither {planned.result}, whole, nor {planned.source} to build it of",
                expected="one of them",
                remedy="copy the folder again, or build the model again",
            )
        found[name] = (folder, planned)
    alone = len(found) == 1
    return tuple(
        Unbuilt(SERVICE if alone else f"{SERVICE}-{_NO_SERVICE.sub('-', name)}", folder, planned)
        for name, (folder, planned) in found.items()
    )


def _is_built(engine: Path, ranks: int) -> bool:
    """Say whether all of an engine is there: a file, or a folder with a part for each rank."""
    if not engine.is_dir():
        return _holds(engine)
    parts = ("config.json", *(engine_file.RANK.format(rank) for rank in range(ranks)))
    return all(_holds(engine / part) for part in parts)


def _holds(path: Path) -> bool:
    """Say whether there is anything in a file or a folder."""
    if path.is_dir():
        return any(path.iterdir())
    return path.is_file() and path.stat().st_size > 0
