"""`builder list`."""

from __future__ import annotations

import click

from builder.commands import options


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(as_json: bool) -> None:
    """List recipes, targets, quantizations, architectures and GPUs."""
    from builder import catalogue

    found = catalogue.catalogue()
    if as_json:
        options.print_json(found)
    else:
        from builder.printing import catalogues

        catalogues.show(found)
