"""Tables and sizes in the one form that every printout uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GIB = 1024**3
MIB = 1024**2


def size(count: int) -> str:
    """Return bytes as a person reads them: GiB, MiB or B."""
    if count >= GIB:
        return f"{count / GIB:.2f} GiB"
    return f"{count / MIB:.1f} MiB" if count >= MIB else f"{count} B"


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout; without colour and frames when stdout is no terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold", pad_edge=False)
    table.min_width = len(title)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # as text, because a cell may look like markup or an emoji's name
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
