"""`builder check`."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.commands import options
from builder.rule import NEWEST, OLDEST

if TYPE_CHECKING:
    from builder.check import Choice
    from builder.layout import Layout

# one would be without effect, or spoil what the other prints
_APART = (("--json", "--github"), ("--json", "--graph"), ("--json", "--mermaid"), ("--graph", "--mermaid"))


def _release(context: click.Context, option: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"\d\d\.(0[1-9]|1[0-2])", value) or not OLDEST <= value <= NEWEST:
        raise click.BadParameter(f"{value} is no release from {OLDEST} to {NEWEST}")
    return value


@click.command()
@click.argument("directories", metavar="[DIRECTORY]...", nargs=-1, type=options.Folder())
@click.option(
    "--triton",
    default=NEWEST,
    show_default=True,
    callback=_release,
    metavar="YY.MM",
    help=f"Release of Triton that is to serve it, from {OLDEST} to {NEWEST}.",
)
@click.option(
    "--gpus", type=click.IntRange(0), metavar="N", help="GPUs of that server; unknown when not given."
)
@click.option(
    "--disable-auto-complete-config",
    "strict",
    is_flag=True,
    help="That server is started so too: no backend adds to a config.",
)
@click.option(
    "--select",
    multiple=True,
    callback=options.codes,
    metavar="CODES",
    help="Only rules whose codes begin so.",
)
@options.ignore
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--github", is_flag=True, help="Print the findings as annotations of a GitHub workflow.")
@click.option(
    "--graph",
    is_flag=True,
    help="Draw the ensembles with the type and shape of every edge; the findings go to stderr.",
)
@click.option("--mermaid", is_flag=True, help="Draw them so as sections of a Markdown page, with flowcharts.")
def command(
    directories: tuple[Path, ...],
    triton: str,
    gpus: int | None,
    strict: bool,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    as_json: bool,
    github: bool,
    graph: bool,
    mermaid: bool,
) -> None:
    """Look for mistakes in the repositories without booting anything; exit 1 when there are errors."""
    from builder import layout
    from builder.check import check_layout
    from builder.printing import findings as printing
    from builder.rule import Host

    _require_one_form({"--json": as_json, "--github": github, "--graph": graph, "--mermaid": mermaid})
    choice = _choice(select, ignore)
    repository = layout.read(*(directories or (Path(options.DEFAULT_REPOSITORY),)))
    drawn = graph or mermaid
    if drawn:
        _draw(repository, as_mermaid=mermaid)
    found = check_layout(repository, Host(triton, gpus, completes=not strict), choice)
    if as_json:
        options.print_json([finding.to_json() for finding in found])
    elif github:
        printing.annotate(found, err=drawn)
    else:
        printing.show(found, err=drawn)
    sys.exit(1 if any(finding.severity != "warning" for finding in found) else 0)


def _require_one_form(given: Mapping[str, bool]) -> None:
    for first, second in _APART:
        if given[first] and given[second]:
            raise click.UsageError(f"{first} and {second} do not go together: drop one of them")


def _choice(select: tuple[str, ...], ignore: tuple[str, ...]) -> Choice:
    from builder.check import Choice, rules

    choice = Choice(select or ("",), ignore)
    if not any(one.code in choice for one in rules()):
        raise click.UsageError("--select and --ignore leave no rule to check: drop or narrow one of them")
    return choice


def _draw(repository: Layout, as_mermaid: bool) -> None:
    from builder.printing import graphs

    ensembles = graphs.ensembles(repository)
    draw = graphs.mermaid if as_mermaid else graphs.tree
    click.echo("\n\n".join(draw(model, repository) for model in ensembles) or "no ensemble here")
