"""Reports of `verify` for people."""

from __future__ import annotations

import click

from builder.printing import tables
from builder.report import Report


def show(report: Report) -> None:
    """Print one line per check and a closing line."""
    rows = [
        (group, name, "FAILED" if state == "failed" else state, detail)
        for _, group, name, state, detail in report.rows()
    ]
    tables.show("Verified through the live endpoint", ("group", "check", "", "what was seen"), rows)
    click.echo(f"checks: {report.summary()}")


def show_checks() -> None:
    """Print the name and description of every check."""
    from builder.verify import checks

    rows = [(check.group, check.name, check.description) for check in checks()]
    tables.show("Checks", ("group", "check", "what it asks"), rows)
