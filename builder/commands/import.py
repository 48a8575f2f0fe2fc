"""`builder import`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.commands import options

if TYPE_CHECKING:
    from builder.inflight_batcher.migration import Migration

TARGETS = ("llmapi", "tensorrtllm", "vllm")


def _filled(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if not value.partition("=")[1] or not value.partition("=")[0]:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE, such as decoupled_mode=true")
    return {name: value for name, _, value in (one.partition("=") for one in values)}


@click.command()
@click.argument("directory", type=options.Folder())
@click.option("--output", type=options.Folder(), help="Write it here, for the container of its engine.")
@click.option("--to", "target", type=click.Choice(TARGETS), help="Say how it is built anew, as what.")
@click.option(
    "--fill",
    "values",
    multiple=True,
    callback=_filled,
    metavar="NAME=VALUE",
    help="What stands for ${NAME} (repeatable).",
)
@click.option(
    "--engine", type=options.Folder(), help="Where the engine lies here; else as gpt_model_path says."
)
@click.option(
    "--tokenizer", type=options.Folder(), help="Where the tokenizer lies; else as tokenizer_dir says."
)
@click.option("--triton", metavar="TAG", help="Container to serve it in; the newest that reads the engine.")
@click.option("--gpu", callback=options.not_empty, metavar="GPU", help="GPU to serve it on, such as h200.")
@options.driver
@click.option(
    "--checkpoint",
    callback=options.not_empty,
    metavar="PATH",
    help="What the engine was made of, for --to.",
)
@click.option(
    "--name", callback=options.not_empty, default="llm", show_default=True, help="Its name, for --to."
)
@options.as_json
def command(
    directory: Path,
    output: Path | None,
    target: str | None,
    values: dict[str, str],
    engine: Path | None,
    tokenizer: Path | None,
    triton: str | None,
    gpu: str | None,
    driver: str | None,
    checkpoint: str | None,
    name: str,
    as_json: bool,
) -> None:
    """Read a repository of NVIDIA's inflight_batcher_llm templates, filled or not, and say what is in it.

    With --output it is written anew, nothing unfilled, engine and tokenizer inside, or not at all.
    With --to it says what becomes of each parameter and tensor when it is built anew, as an engine or not.
    """
    from builder.importers import inflight_batcher_llm as importer
    from builder.inflight_batcher import migration, rewriting
    from builder.inflight_batcher.imported import Answers
    from builder.planning import placement
    from builder.printing import imports

    card = placement.gpu(gpu) if gpu else None
    answers = Answers(values, engine, tokenizer, triton, card, driver or "")
    found = rewriting.examined(importer.read(directory, answers))
    if output is None and target is None:
        found = rewriting.checked(found)
    written = rewriting.write(found, output) if output is not None else None
    moved: Migration | None = migration.migrate(found, target, name, checkpoint) if target else None
    if as_json:
        options.print_json(imports.to_json(found, written, moved))
    else:
        imports.show(found, written, moved)
    # a migration needs no engine
    sys.exit(1 if found.problems and target is None else 0)
