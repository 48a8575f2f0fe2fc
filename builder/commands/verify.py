"""`builder verify`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from builder.commands import options


@click.command()
@options.directory
@click.option("--url", metavar="URL", help="HTTP address of a running server; without it one is booted here.")
@click.option("--grpc-url", metavar="HOST:PORT", help="Its gRPC address; default: the port after --url's.")
@click.option(
    "--metrics-url", metavar="HOST:PORT", help="Its metrics address; default: two ports after --url's."
)
@click.option("--name", "names", multiple=True, metavar="NAME", help="Verify this model only (repeatable).")
@click.option("--only", multiple=True, metavar="CHECK", help="Run this check only (repeatable).")
@click.option("--list", "listing", is_flag=True, help="Print the checks and end.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=options.writable,
    help="Write JUnit XML there.",
)
def command(
    directory: Path,
    url: str | None,
    grpc_url: str | None,
    metrics_url: str | None,
    names: tuple[str, ...],
    only: tuple[str, ...],
    listing: bool,
    as_json: bool,
    junit: Path | None,
) -> None:
    """Ask a server everything that the repository in DIRECTORY promises; exit 1 when something fails."""
    from builder import verifying
    from builder.printing import reports
    from builder.printing.progress import Progress

    if listing:
        reports.show_checks()
        return
    with Progress() as progress:
        report = verifying.run(
            directory, url, grpc_url, metrics_url, names=names, only=only, progress=progress
        )
    if as_json:
        click.echo(report.to_json(), nl=False)
    else:
        reports.show(report)
    if junit:
        junit.write_text(report.to_junit(), encoding="utf-8")
    sys.exit(0 if report.passed else 1)
