"""How the server is started where an engine has a part on each of several GPUs: leader mode, by MPI.

Every rank is a server of its own. The first has all models and answers; the others load the engine alone, which
then waits for the first one's words, so that they never open a port (TensorRT-LLM's launch_triton_server.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

ALONE = 1


@dataclass(frozen=True)
class Ranks:
    """How many parts an engine has, and the names of the models that are the engine."""

    count: int = ALONE
    engines: tuple[str, ...] = ()


def command(server: Sequence[str], ranks: Ranks) -> list[str]:
    """Return the command line that starts a server, given what starts one of a single rank."""
    if ranks.count == ALONE:
        return list(server)
    return ["mpirun", "--allow-run-as-root", *(word for part in _parts(server, ranks) for word in part)]


def shell(server: Sequence[str], ranks: Ranks) -> str:
    """Return the same for a shell, each rank on lines of its own."""
    if ranks.count == ALONE:
        return shlex.join(server)
    return " \\\n  ".join(["mpirun --allow-run-as-root", *map(shlex.join, _parts(server, ranks))])


def _parts(server: Sequence[str], ranks: Ranks) -> list[list[str]]:
    return [
        [
            *((":",) if rank else ()),
            *("-n", "1", *server),
            # the regions of two servers of one host may not have the same names
            f"--backend-config=python,shm-region-prefix-name=prefix{rank}_",
            *(_followers(ranks.engines) if rank else ()),
        ]
        for rank in range(ranks.count)
    ]


def _followers(engines: Sequence[str]) -> list[str]:
    return ["--model-control-mode=explicit", *(f"--load-model={name}" for name in engines)]
