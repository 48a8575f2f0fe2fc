"""`builder compare`."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.commands import options

if TYPE_CHECKING:
    from builder.compare import Asked
    from builder.comparing.row import Comparison
    from builder.comparing.trial import How

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B", re.IGNORECASE)
_PREFIXES = "KMGT"
PAGE = "comparison.html"


class Size(click.ParamType[int]):
    """Bytes as people write them: 120MB is 120,000,000 of them, 120MiB 125,829,120."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = _SIZE.fullmatch(str(value))
        if isinstance(value, int):
            return value
        if found is None or not float(found[1]):
            self.fail(f"{value!r} is no size, such as 120MB or 6GB", param, ctx)
        power = _PREFIXES.index(found[2].upper()) + 1 if found[2] else 0
        return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def _listed(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(one for value in values for one in value.split(","))
    if "" in found:
        raise click.BadParameter("has an empty name in it; leave the option out or give it values")
    return tuple(dict.fromkeys(found))


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--checkpoint",
    callback=options.not_empty,
    metavar="PATH",
    help="Folder, .gguf file or ORG/NAME instead of the recipe's; of one NAME.",
)
@click.option(
    "--quantize",
    "quantizations",
    multiple=True,
    callback=_listed,
    metavar="Q,...",
    help="These alone; without it all that there are for the device (`builder list`).",
)
@click.option(
    "--fit",
    "fits",
    multiple=True,
    type=Size(),
    metavar="SIZE",
    help="Types by part that `builder build --fit` chooses for so much memory, such as 6GB (repeatable).",
)
@click.option(
    "--target", "targets", multiple=True, callback=_listed, metavar="T,...", help="Run by these alone."
)
@click.option("--gpu", callback=options.not_empty, metavar="GPU", help="On this GPU, such as h200.")
@click.option("--max-context", type=int, metavar="N", help="Longest prompt and answer in tokens.")
@click.option(
    "--calibration",
    callback=options.not_empty,
    metavar="FILE",
    help="Texts of your own for those that measure scales, as JSON lines.",
)
@click.option(
    "--evaluate",
    "evaluation",
    callback=options.not_empty,
    metavar="FILE",
    help="Texts of your own to measure on what was lost, as JSON lines; else the shipped ones.",
)
@click.option(
    "--max-perplexity-ratio", type=click.FloatRange(1), help="Perplexity on them, as many times the source's."
)
@click.option("--max-divergence", type=click.FloatRange(0), help="Mean KL divergence on them, in nats.")
@click.option("--min-agreement", type=click.FloatRange(0, 1), help="Share of the same first choices on them.")
@click.option(
    "--concurrency", type=int, metavar="N", help="Plan for so many requests at once at full length."
)
@click.option(
    "--load",
    "loads",
    default="1,8",
    show_default=True,
    metavar="N,...",
    help="Measure with so many requests at once; times are those of the first.",
)
@click.option(
    "--output-tokens",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    metavar="N",
    help="Tokens of every answer that is measured.",
)
@click.option(
    "--twice/--once",
    default=True,
    show_default=True,
    help="Read some texts with transformers too, the weights dequantised.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default="compare",
    show_default=True,
    help="Folder with a folder for each NAME: repositories, comparison.json, comparison.html.",
)
@options.as_json
def command(names: tuple[str, ...], output: Path, as_json: bool, **given: Any) -> None:
    """Build every quantization of NAME, and compare size, memory, speed and what each has lost.

    Each is built, proven, served and verified as `builder build` does it, and then measured. One that fails
    is a row that says so. What was found is kept: the same command goes on where it was.
    """
    from builder.printing import comparisons

    if given["checkpoint"] and len(names) > 1:
        raise click.UsageError("--checkpoint is of one NAME")
    how = _how(given)
    found = [_compared(_asked(name, given), output, how, as_json) for name in names]
    if as_json:
        options.print_json([comparison.to_json() for comparison in found])
    comparisons.require_all(found)


def _compared(asked: Asked, output: Path, how: How, as_json: bool) -> Comparison:
    """Compare one model, write its page, and print its table."""
    from builder import files, subjects
    from builder.compare import compare
    from builder.errors import ComparisonError
    from builder.printing import comparison_page, comparisons
    from builder.printing.progress import Progress

    home = output / subjects.name_of(asked.name, None)
    line = shlex.join(["builder", *sys.argv[1:]])
    with Progress() as progress:
        found = compare(
            asked,
            home,
            how,
            command=line,
            progress=progress,
            tell=lambda row: click.echo(comparisons.line(row), err=True),
        )
    with files.translated(ComparisonError, f"writing {home / PAGE}"):
        files.replace_text(home / PAGE, comparison_page.page(found))
    if not as_json:
        comparisons.show(found, home)
    return found


def _asked(name: str, given: dict[str, Any]) -> Asked:
    from builder.compare import Asked
    from builder.plan import Options

    taken = ("gpu", "max_context", "concurrency", "calibration", "evaluation")
    limits = ("max_perplexity_ratio", "max_divergence", "min_agreement")
    return Asked(
        name=name,
        options=Options(**{option: given[option] for option in (*taken, *limits)}),
        checkpoint=given["checkpoint"],
        quantizations=given["quantizations"],
        targets=given["targets"],
        fits=given["fits"],
    )


def _how(given: dict[str, Any]) -> How:
    from builder.comparing.trial import How
    from builder.errors import UsageError
    from builder.measure import Options
    from builder.measuring import task

    try:
        loads = task.loads(given["loads"], None, 0, 0.0)
    except UsageError as error:
        raise click.BadParameter(error.found.partition(": ")[2], param_hint="--load") from error
    return How(Options(loads=loads, output_tokens=given["output_tokens"]), given["twice"])
