"""Reports of `verify` and findings of `check` for people."""

from __future__ import annotations

from collections.abc import Iterable

import click

from builder.check import Finding
from builder.printing import tables
from builder.report import Report


def show(report: Report) -> None:
    """Print one line per check and a closing line."""
    rows = [
        (row.group, row.name, _outcome(row.passed, bool(row.skipped)), row.skipped or row.detail)
        for row in report.rows
    ]
    tables.show("Verified through the live endpoint", ("group", "check", "", "what was seen"), rows)
    failed = sum(not row.passed and not row.skipped for row in report.rows)
    skipped = sum(bool(row.skipped) for row in report.rows)
    passed = len(report.rows) - failed - skipped
    click.echo(f"{passed} checks passed, {failed} failed, {skipped} skipped in {report.seconds:.0f} s")


def _outcome(passed: bool, skipped: bool) -> str:
    return "skipped" if skipped else "ok" if passed else "FAILED"


def show_checks() -> None:
    """Print the name and description of every check."""
    from builder.verify import checks

    rows = [(check.group, check.name, check.description) for check in checks()]
    tables.show("Checks", ("group", "check", "what it asks"), rows)


def show_findings(findings: Iterable[Finding]) -> None:
    """Print findings with their remedies, or that there are none."""
    rows = [
        (finding.severity, finding.code, finding.where, finding.message, finding.remedy)
        for finding in findings
    ]
    if rows:
        tables.show("Findings", ("severity", "rule", "where", "what", "remedy"), rows)
    else:
        click.echo("nothing found")
