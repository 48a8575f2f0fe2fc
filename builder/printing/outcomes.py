"""What a build did, for people and as JSON."""

from __future__ import annotations

import json
from typing import Any

import click

from builder.pipeline import Built
from builder.printing import reports, tables


def to_json(built: Built) -> dict[str, Any]:
    """Return the outcome: where it was published, its evidence and its verification."""
    published = built.published
    return {
        "name": published.name,
        "repository": str(published.repository),
        "version": published.version,
        "new": published.fresh,
        "evidence": built.evidence.to_json(),
        "verified": json.loads(built.report.to_json()) if built.report else None,
    }


def show(built: Built) -> None:
    """Print what was proven, then where it is and what to do with it."""
    evidence, published = built.evidence, built.published
    tables.show(
        f"Proven of {published.name} ({built.plan.target} {built.plan.quantize}) before it was published",
        ("what", "figure"),
        evidence.rows(),
    )
    if built.report:
        reports.show(built.report)
    place = f"{published.repository}/{published.name}"
    checked = _checked(built.verified)
    if not published.fresh:
        click.echo(f"{place} version {published.version} is this very build already ({checked})")
    else:
        click.echo(f"published {place} version {published.version}, {checked}")
    click.echo(f"serve it: builder serve {published.repository}")


def _checked(counts: dict[str, int] | None) -> str:
    if counts is None:
        return "not verified: `builder verify` does it"
    return (
        f"verified: {counts['passed']} checks passed, {counts['failed']} failed, {counts['skipped']} skipped"
    )
