"""`builder doctor`."""

from __future__ import annotations

import sys

import click

from builder.commands import options


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(as_json: bool) -> None:
    """Say what is installed, which targets and servers can run here, and how to add what is missing."""
    from builder import doctor as diagnosing

    found = diagnosing.diagnose()
    if as_json:
        options.print_json([vars(row) for row in found])
    else:
        from builder.printing import catalogues

        catalogues.show_diagnosis(found)
    sys.exit(0 if all(row.ready for row in found if row.needed) else 1)
