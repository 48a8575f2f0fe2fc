"""The engines of a repository that are yet to be built, and the service of compose that builds each."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from builder import compiling
from builder.layout import Layout
from builder.target import Compilation

SERVICE = "engine-build"
"""The service, and the profile that keeps `docker compose up` from starting it."""

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
    def shown(self) -> str:
        """Return how it is started where compose.yaml lies."""
        return shlex.join(("docker", "compose", "run", "--rm", self.service))


def unbuilt(repository: Layout) -> tuple[Unbuilt, ...]:
    """Return the engines that are not there, of the newest versions; RepositoryError for a broken record."""
    found = {}
    for name, model in repository.models.items():
        folder = model.path / str(max(model.served, default=0))
        planned = compiling.recorded(folder)
        if planned is None or (folder / planned.result).exists() or not (folder / planned.source).exists():
            continue
        found[name] = (folder, planned)
    alone = len(found) == 1
    return tuple(
        Unbuilt(SERVICE if alone else f"{SERVICE}-{_NO_SERVICE.sub('-', name)}", folder, planned)
        for name, (folder, planned) in found.items()
    )
