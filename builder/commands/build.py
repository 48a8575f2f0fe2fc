"""`builder build`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from builder.commands import options


@click.command()
@click.argument("name")
@options.planning
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=options.DEFAULT_REPOSITORY,
    show_default=True,
    help="Model repository to publish to.",
)
@click.option("--verify/--no-verify", "verifying", default=True, help="Boot and verify before publishing.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(
    name: str,
    output: Path,
    verifying: bool,
    as_json: bool,
    checkpoint: str | None,
    served_name: str | None,
    lock_file: Path | None,
    update_lock: bool,
    **values: Any,
) -> None:
    """Build NAME into a model repository: convert, prove, write, check, boot, verify, publish.

    Nothing is published that failed a stage; what is published already stays as it is.
    """
    from builder import pipeline
    from builder.printing import outcomes
    from builder.printing.progress import Progress

    said: list[str] = []

    def warn(line: str) -> None:
        if line not in said:
            said.append(line)
            click.echo(f"warning: {line}", err=True)

    with Progress() as progress:
        built = pipeline.build(
            name,
            output,
            options.planned(values),
            checkpoint=checkpoint,
            served_name=served_name,
            verifying=verifying,
            lock_file=options.lock_of(name, lock_file, writing=True),
            update_lock=update_lock,
            progress=progress,
            warn=warn,
        )
    for line in outcomes.warnings(built):
        warn(line)
    if as_json:
        options.print_json(outcomes.to_json(built))
    else:
        outcomes.show(built)
