"""Findings of `check` for people, for programs, and for GitHub's annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import click

from builder.finding import SEVERITIES, Finding
from builder.printing import plain

_COLORS = {"fatal": "red", "error": "red", "warning": "yellow"}
_GITHUB = {"fatal": "error", "error": "error", "warning": "warning"}
_IN_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_IN_PROPERTIES = _IN_DATA | {":": "%3A", ",": "%2C"}


def show(findings: Sequence[Finding], err: bool = False) -> None:
    """Print each finding as place, code, what is wrong, what to do; last how many there are."""
    for finding in findings:
        severity = click.style(finding.severity, fg=_COLORS[finding.severity], bold=True)
        place = click.style(plain.line(finding.address), bold=True)
        click.echo(f"{place}: {severity} {finding.code} {finding.rule}", err=err)
        click.echo(f"  {plain.line(finding.message)}", err=err)
        click.echo(f"  -> {plain.line(finding.remedy)}", err=err)
    click.echo(summary(findings), err=err)


def summary(findings: Sequence[Finding]) -> str:
    """Return how many findings there are of each severity, or that there are none."""
    counts = Counter(finding.severity for finding in findings)
    return ", ".join(_counted(counts[severity], severity) for severity in SEVERITIES if counts[severity]) or (
        "no findings"
    )


def _counted(number: int, severity: str) -> str:
    return f"{number} {severity}" + ("s" if number > 1 and severity != "fatal" else "")


def annotate(findings: Sequence[Finding], err: bool = False) -> None:
    """Print workflow commands, which GitHub shows beside the lines of a pull request.

    https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
    """
    for finding in findings:
        properties = {"file": finding.file}
        if finding.line:
            properties |= {"line": str(finding.line), "col": str(finding.column)}
        properties["title"] = f"{finding.code} {finding.rule}"
        listed = ",".join(f"{name}={_escaped(value, _IN_PROPERTIES)}" for name, value in properties.items())
        told = f"{plain.line(finding.message)}\n{plain.line(finding.remedy)}"
        click.echo(f"::{_GITHUB[finding.severity]} {listed}::{_escaped(told, _IN_DATA)}", err=err)


def _escaped(text: str, spellings: dict[str, str]) -> str:
    return "".join(spellings.get(one, one if one.isprintable() else "\ufffd") for one in text)
