"""What an imported repository holds, what was written of it, and what becomes of it elsewhere."""

from __future__ import annotations

import shlex
from typing import Any

import click

from builder.inflight_batcher.imported import Imported
from builder.inflight_batcher.migration import Migration
from builder.inflight_batcher.rewriting import Written
from builder.printing import tables


def to_json(found: Imported, written: Written | None, moved: Migration | None) -> dict[str, Any]:
    """Return the same as JSON would hold it."""
    return {
        "repository": str(found.path),
        "models": list(found.names),
        "version": found.version,
        "engine": vars(found.engine) if found.engine else None,
        "container": found.container.to_json() if found.container else None,
        "values": {name: {"value": value, "from": origin} for name, (value, origin) in found.values.items()},
        "unset": list(found.unset),
        "parameters": found.parameters,
        "differences": list(found.differences),
        "changes": list(found.changes),
        "problems": [
            {"found": one.found, "expected": one.expected, "remedy": one.remedy} for one in found.problems
        ],
        "written": (
            {"path": str(written.path), "dropped": dict(written.dropped), "warnings": list(written.warnings)}
            if written
            else None
        ),
        "migration": (
            {
                "target": moved.target,
                "rows": [vars(row) for row in moved.rows],
                "command": list(moved.command),
                "unknown": dict(moved.unknown),
            }
            if moved
            else None
        ),
    }


def show(found: Imported, written: Written | None, moved: Migration | None) -> None:
    """Print it, what keeps it from being written last."""
    click.echo(f"{found.path}: {', '.join(found.names)}")
    others = ", of which the engine's calls some otherwise" if found.changes else ""
    click.echo(f"  tensors    of TensorRT-LLM {found.version or 'of no known version'}{others}")
    if found.engine:
        engine = found.engine
        built = f"{engine.ranks} rank{'s' * (engine.ranks != 1)}, at most {engine.max_batch_size} at once"
        click.echo(f"  engine     {engine.path}: TensorRT-LLM {engine.version}, {built}")
    if found.container:
        click.echo(f"  image      {found.container.image}: {found.container.why}")
    click.echo()
    filled = [(name, value, origin) for name, (value, origin) in sorted(found.values.items())]
    if filled:
        tables.show("Filled in", ("${...}", "value", "from"), filled)
    if found.unset:
        click.echo(f"Left to the backend: {', '.join(found.unset)}\n")
    for line in found.differences:
        click.echo(f"differs: {line}")
    # what is built anew is not written as it is
    for line in found.changes if moved is None or written else ():
        click.echo(f"rewrites: {line}")
    if moved:
        _show_migration(moved)
    if written:
        for name, why in written.dropped.items():
            click.echo(f"left out: {name} ({why})")
        for line in written.warnings:
            click.echo(f"warning: {line}")
        click.echo(f"written to {written.path}, checked: no errors")
    for one in found.problems:
        click.echo(f"problem: {one.found}\n  {one.remedy or f'expected: {one.expected}'}")


def _show_migration(moved: Migration) -> None:
    rows = [(row.what, row.was, row.becomes or "nothing", row.why) for row in moved.rows]
    tables.show(f"On target {moved.target}", ("what", "was", "becomes", "because"), rows)
    click.echo(f"build it: {shlex.join(moved.command)}")
    for word, what in moved.unknown.items():
        click.echo(f"  put in for {word}: {what}")
    click.echo()
