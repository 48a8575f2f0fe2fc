"""Reports as HTML that stands alone: how they look, tables, and text that cannot be taken for markup."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #ffffff; --grid: #d8d8d8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #161616; --grid: #3a3a3a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1180px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .3em .9em .3em 0; border-bottom: 1px solid var(--grid); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 1em; }
svg { width: 100%; }
svg text { fill: var(--ink); font-size: 12px; }
svg .title { font-weight: 600; font-size: 14px; }
svg .grid { stroke: var(--grid); }
svg .tick { font-size: 11px; } code { overflow-wrap: anywhere; }
"""


def document(title: str, body: Iterable[str]) -> str:
    """Return a whole document; `body` is HTML, the title text."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>',
            f"<style>{STYLE}</style></head><body>",
            f"<h1>{text(title)}</h1>",
            *body,
            "</body></html>\n",
        ]
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of texts."""
    head = "".join(f"<th>{text(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def text(value: str) -> str:
    """Return a text as HTML shows it."""
    return html.escape(str(value))
