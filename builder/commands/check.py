"""`builder check`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from builder.commands import options


@click.command()
@options.directory
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(directory: Path, as_json: bool) -> None:
    """Look for mistakes in DIRECTORY without booting anything; exit 1 when there are errors."""
    from builder.check import check as find
    from builder.printing import reports

    findings = find(directory)
    if as_json:
        options.print_json([vars(finding) for finding in findings])
    else:
        reports.show_findings(findings)
    sys.exit(1 if any(finding.severity != "warning" for finding in findings) else 0)
