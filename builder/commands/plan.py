"""`builder plan`."""

from __future__ import annotations

from dataclasses import replace
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
    from builder import lock, sensing
    from builder.calibration import workload
    from builder.subjects import name_of, read

    asked = options.planned(values)
    pins = lock.read(
        options.lock_of(name, lock_file, writing=False), name_of(name, served_name), moving=update_lock
    )
    subject, found = read(name, checkpoint, served_name, asked.draft, pins.revision)
    if asked.fit is not None and asked.sensitivities is None:
        profile = sensing.known(found, subject.precision, asked.calibration)
        asked = replace(asked, sensitivities=str(profile) if profile else None)
    planned = lock.pinned(subject, asked, pins)
    for line in workload.warnings(planned.calibration, planned.workload):
        click.echo(f"warning: {line}", err=True)
    if as_json:
        options.print_json(planned.to_json())
    else:
        from builder.printing import plans

        plans.show(planned)
