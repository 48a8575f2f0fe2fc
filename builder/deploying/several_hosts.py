"""What starts an engine whose ranks are on several hosts: a script and their names, in its version folder."""

from __future__ import annotations

from pathlib import Path

from builder import contract, engine_file
from builder.deploying import launching
from builder.deploying.launching import Ranks
from builder.plan import Plan
from builder.planning import hosts
from builder.target import Compilation


def ranks(plan: Plan, compilation: Compilation) -> Ranks:
    """Return what parts the engine of a plan has."""
    return Ranks(compilation.ranks, (plan.graph.name,), compilation.hosts)


def write(plan: Plan, compilation: Compilation, folder: Path) -> None:
    """Write the script, and the names where they are told; nothing for one host."""
    if compilation.hosts == 1:
        return
    path = folder / engine_file.LAUNCH
    path.write_text(script(ranks(plan, compilation), compilation.image), encoding="utf-8")
    path.chmod(0o755)
    if plan.hosts:
        told = hosts.file(plan.hosts, plan.split.gpus_per_host)
        (folder / hosts.FILE).write_text(told, encoding="utf-8")


def script(found: Ranks, image: str) -> str:
    """Return a shell script that starts the servers of all hosts, beside their host file."""
    each = found.count // found.hosts
    server = launching.tritonserver(exit_timeout=launching.EXIT_TIMEOUT, exit_on_error=True)
    return f"""#!/bin/sh
# Starts a server for each of {found.count} ranks, {each} on each of {found.hosts} hosts; the first answers.
# Run it on the first host, in {image}.
# All hosts have that image, and the repository at {contract.MODELS}; mpirun reaches them without a password.
set -eu
cd "$(dirname "$0")"
if [ ! -f {hosts.FILE} ]; then
  echo "write a file '{hosts.FILE}' here: for each of {found.hosts} hosts a line, such as" >&2
  echo "gpu-a slots={each}" >&2
  exit 2
fi
exec {launching.shell(server, found)}
"""
