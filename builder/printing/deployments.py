"""What `deploy` decided and wrote, for people and as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from builder.deployment import PORTS, Deployment
from builder.printing import tables


def to_json(deployment: Deployment, output: Path, written: Sequence[Path]) -> dict[str, Any]:
    """Return the decisions, and which files were new or different."""
    return {
        "repository": str(deployment.repository),
        "output": str(output),
        "written": [str(path) for path in written],
        "image": deployment.base,
        "unbuilt": {one.service: str(one.folder) for one in deployment.unbuilt},
        "models": list(deployment.models),
        "fronts": [probe.model for probe in deployment.fronts],
        "engines": list(deployment.engines),
        "packages": list(deployment.packages),
        "python_processes": deployment.python_processes,
        "gpus": deployment.gpus,
        "address": deployment.address,
        "ports": {**dict(zip(PORTS, deployment.published, strict=True)), "openai": deployment.openai_port},
        "shared_memory": deployment.shared_memory,
        "planned_memory": deployment.planned_memory,
        "memory": deployment.memory,
    }


def show(deployment: Deployment, output: Path, written: Sequence[Path]) -> None:
    """Print the decisions, what was written and the next command; what is risky goes to stderr."""
    ports = ", ".join(f"{name} {port}" for name, port in zip(PORTS, deployment.published, strict=True))
    ports += f", openai {deployment.openai_port}"
    rows = [
        ("image", deployment.base),
        ("models", ", ".join(deployment.models)),
        ("probed", ", ".join(probe.model for probe in deployment.fronts)),
        ("packages", " ".join(deployment.packages) or "none"),
        ("GPUs", deployment.gpus or "none"),
        ("ports", f"{ports} on {deployment.address}"),
        ("memory", _memory(deployment)),
        (
            "shared memory",
            f"{tables.size(deployment.shared_memory)} for {deployment.python_processes} Python processes",
        ),
    ]
    tables.show(f"Deployment of {deployment.repository}", ("what", "decided"), rows)
    for path in written:
        click.echo(f"wrote {path}")
    if not written:
        click.echo(f"{output} holds this very deployment already")
    compose = ["docker", "compose", "--file", str(output / "compose.yaml")]
    for one in deployment.unbuilt:
        click.echo(f"build {one.folder / one.compilation.result} first: ", nl=False)
        click.echo(one.setting + shlex.join([*compose, "run", "--rm", one.service]))
    start = [*compose, "up", "--build", "--wait"]
    click.echo(f"start it: {shlex.join(start)}")
    click.echo(f"with OpenAI's API: {shlex.join([*compose, '--profile', 'openai', *start[len(compose) :]])}")
    for warning in warnings(deployment):
        click.echo(f"warning: {warning}", err=True)


def _memory(deployment: Deployment) -> str:
    limit = tables.size(deployment.memory) if deployment.memory else "no limit"
    if not deployment.planned_memory:
        return limit
    where = " on the CPU" if deployment.gpus else ""
    return f"{limit}; weights and caches {tables.size(deployment.planned_memory)}{where} at the most"


def warnings(deployment: Deployment) -> list[str]:
    """Return what a careful person would want to know before starting it."""
    found = []
    if not deployment.on_loopback:
        found.append(
            f"--bind {deployment.address} lets others reach a server that asks nobody who they are; "
            "put a proxy with TLS and authentication before it"
        )
    if deployment.memory and deployment.memory < deployment.planned_memory + deployment.shared_memory:
        found.append(
            f"with {tables.size(deployment.memory)} the container may be ended when every request is at its "
            "longest"
        )
    return found
