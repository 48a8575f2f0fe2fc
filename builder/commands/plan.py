"""`builder plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from builder.commands import options


@click.command()
@click.argument("name")
@options.planning
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def command(
    name: str,
    as_json: bool,
    checkpoint: str | None,
    served_name: str | None,
    lock_file: Path | None,
    update_lock: bool,
    **values: Any,
) -> None:
    """Print what a build of NAME would write, and whether it fits; reads no weights.

    NAME is a recipe (`builder list`), the path of your own recipe, or any name with --checkpoint.
    """
    from builder import lock
    from builder.calibration import workload
    from builder.subjects import name_of, read

    asked = options.planned(values)
    pins = lock.read(
        options.lock_of(name, lock_file, writing=False), name_of(name, served_name), moving=update_lock
    )
    subject, _ = read(name, checkpoint, served_name, asked.draft, pins.revision)
    planned = lock.pinned(subject, asked, pins)
    for line in workload.warnings(planned.calibration, planned.workload):
        click.echo(f"warning: {line}", err=True)
    if as_json:
        options.print_json(planned.to_json())
    else:
        from builder.printing import plans

        plans.show(planned)
