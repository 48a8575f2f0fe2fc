"""How the server is started; where an engine has a part on each of several GPUs, by MPI in leader mode.

Every rank is a server of its own then. The first has all models and answers; the others load the engine
alone, which waits for the first one's words, so that they never open a port (launch_triton_server.py of
TensorRT-LLM).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from builder import contract
from builder.planning import hosts

EXIT_TIMEOUT = 30
"""Seconds."""

ALONE = 1


@dataclass(frozen=True)
class Ranks:
    """How many parts an engine has, on how many hosts, and the names of the models that are the engine."""

    count: int = ALONE
    engines: tuple[str, ...] = ()
    hosts: int = 1


def tritonserver(*, exit_timeout: int, exit_on_error: bool, arguments: Sequence[str] = ()) -> list[str]:
    """Return the server's command line inside a container.

    Args:
        exit_timeout: seconds that requests in flight get after SIGTERM.
        exit_on_error: whether Triton ends when a model does not load; False keeps it up with the
            others, so that its index tells every failure.
        arguments: further ones, last.
    """
    return [
        "tritonserver",
        f"--model-repository={contract.MODELS}",
        "--disable-auto-complete-config",
        f"--exit-on-error={str(exit_on_error).lower()}",
        f"--exit-timeout-secs={exit_timeout}",
        *arguments,
    ]


def command(server: Sequence[str], ranks: Ranks) -> list[str]:
    """Return the command line that starts a server, given what starts one of a single rank."""
    if ranks.count == ALONE:
        return list(server)
    return [*_mpirun(ranks), *(word for part in _parts(server, ranks) for word in part)]


def shell(server: Sequence[str], ranks: Ranks) -> str:
    """Return the same for a shell, each rank on lines of its own."""
    if ranks.count == ALONE:
        return shlex.join(server)
    return " \\\n  ".join(map(shlex.join, [_mpirun(ranks), *_parts(server, ranks)]))


def _mpirun(ranks: Ranks) -> list[str]:
    # by slot: a rank takes the GPU of its number, so the first host has to be full before the second begins
    several = ["--hostfile", hosts.FILE, "--map-by", "slot"] if ranks.hosts > 1 else []
    return ["mpirun", "--allow-run-as-root", *several]


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
