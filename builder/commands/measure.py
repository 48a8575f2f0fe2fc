"""`builder measure`."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from builder.commands import options
from builder.commands.measure_options import measuring

if TYPE_CHECKING:
    from builder.errors import BuilderError
    from builder.measure import Measurement, Options
    from builder.measuring.place import Place
    from builder.measuring.requirements import Requirement


@click.command()
@click.argument("word", required=False, metavar="[DIRECTORY]")
@click.argument("name", required=False)
@measuring
@options.as_json
def command(compare: tuple[Path, Path] | None, as_json: bool, **given: Any) -> None:
    """Measure how fast the model NAME answers: throughput, time to first token, latency, memory.

    NAME may be left out where the server has one front. With --openai it is the name in the report.
    DIRECTORY is the model repository to boot, or what the server at --url serves.
    """
    from builder.measuring import files, requirements
    from builder.printing import measurements

    if compare:
        _refuse_beside_compare(given)
        _compare(compare, as_json)
        return
    rules = requirements.parse(given["require"]) if given["require"] is not None else ()
    for option in ("output", "html"):
        if given[option]:
            files.require_creatable(f"--{option}", given[option])
    measured = _measured(given, rules)
    unwritten = _written(measured, given)
    if as_json:
        click.echo(_text(measured))
    else:
        measurements.show(measured)
    missed = () if measured.ended_early else requirements.missed(rules, measured.runs)
    if missed:
        measurements.show_missed(missed, to_stderr=as_json)
    if failure := unwritten or measured.ended_early:
        raise failure
    if missed:
        sys.exit(1)


def _text(measured: Measurement) -> str:
    return json.dumps(measured.to_json(), indent=1, ensure_ascii=False)


def _written(measured: Measurement, given: dict[str, Any]) -> BuilderError | None:
    """Return what kept a file from being written: the table is shown before anyone is told."""
    from builder.measuring import files
    from builder.printing import measurement_page

    texts = []
    if given["output"]:
        texts.append(("--output", given["output"], _text(measured) + "\n"))
    if given["html"]:
        texts.append(("--html", given["html"], measurement_page.page(measured)))
    return files.write(texts)


def _is_given(option: str) -> bool:
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


def _refuse_beside_compare(given: dict[str, Any]) -> None:
    for name in given:
        if _is_given(name):
            shown = "NAME" if name in ("word", "name") else f"--{name.replace('_', '-')}"
            raise click.UsageError(f"--compare measures nothing: it does not go with {shown}")


def _compare(files: tuple[Path, Path], as_json: bool) -> None:
    from builder.measuring import comparison
    from builder.measuring.files import read
    from builder.printing import measurements

    first, second = map(read, files)
    rows = comparison.compare(first.runs, second.runs)
    if as_json:
        options.print_json([vars(row) for row in rows])
    else:
        measurements.show_comparison(rows, *map(str, files))
    measurements.show_differences(comparison.differences(first, second), to_stderr=as_json)


def _measured(given: dict[str, Any], rules: Sequence[Requirement]) -> Measurement:
    from builder.measure import measure
    from builder.measuring import place
    from builder.measuring.running import running
    from builder.printing.progress import Progress

    _refuse_idle_options(given)
    wanted = _options(given)
    line = shlex.join(["builder", *sys.argv[1:]])
    with Progress() as progress:
        if given["openai"]:
            there = place.openai(
                given["openai"],
                model=_openai_model(given),
                key=given["api_key_env"],
                output_tokens=wanted.output_tokens,
                extra=given["extra"],
            )
            return measure(there, wanted, command=line, progress=progress)
        folder, name = _folder_and_name(given["word"], given["name"])
        directory = folder or given["directory"]
        with running(directory, given["url"], given["grpc_url"], given["metrics_url"], progress) as (
            http,
            grpc,
            metrics,
        ):
            there = place.triton(
                http,
                grpc,
                metrics,
                door=given["door"],
                name=name,
                output_tokens=wanted.output_tokens,
                extra=given["extra"],
                # what stands in the usual place need not be what a server elsewhere serves
                repository=directory if folder or not given["url"] or _is_given("directory") else None,
            )
            _refuse_what_it_tells_nothing_of(there, rules)
            if given["url"] and given["door"] == "grpc":
                place.require_grpc(grpc)
            return measure(there, wanted, command=line, progress=progress)


def _folder_and_name(word: str | None, name: str | None) -> tuple[Path | None, str | None]:
    """Return [DIRECTORY] [NAME]; a single word is the name unless it is a folder that holds models."""
    if word is None:
        return None, None
    folder = Path(word)
    if any(folder.glob("*/config.pbtxt")):
        if _is_given("directory"):
            raise click.UsageError(f"{folder} and --directory exclude each other")
        return folder, name
    if name is not None or len(folder.parts) > 1:
        raise click.UsageError(f"{word} holds no model: expected a folder with one folder per model in it")
    return None, word


def _refuse_what_it_tells_nothing_of(there: Place, rules: Sequence[Requirement]) -> None:
    """Refuse what asks for tokens of a model that answers once, before anything is measured."""
    from builder.measuring import requirements

    if not there.asking.streams and _is_given("output_tokens"):
        raise click.UsageError(f"--output-tokens: {there.name} does not stream text, it answers once")
    requirements.require_known(rules, there.kind, there.name)


def _refuse_idle_options(given: dict[str, Any]) -> None:
    """Refuse what would have no effect: it was meant to have one."""
    needs = "--openai" if not given["openai"] else "a Triton"
    idle = ("model", "api_key_env") if not given["openai"] else ("url", "grpc_url", "metrics_url")
    for name in idle:
        if given[name]:
            raise click.UsageError(f"--{name.replace('_', '-')} needs {needs}")


def _options(given: dict[str, Any]) -> Options:
    from builder.measure import Options
    from builder.measuring import task

    sizes = (given["requests"] or 0, given["seconds"] or 0.0)
    if all(sizes):
        raise click.UsageError("--requests and --seconds exclude each other")
    closed, rates = given["concurrency"], given["rate"]
    if not given["keep_up"] and (rates is not None or not given["requests"]):
        raise click.UsageError("--no-keep-up needs --requests and --concurrency, without --rate")
    if closed is None and rates is None:
        closed = "1,4,16"
    return Options(
        loads=task.loads(closed, rates, *sizes, kept_up=given["keep_up"]),
        repeats=given["repeat"],
        warm_up=given["warm_up"],
        output_tokens=given["output_tokens"],
        prompts=given["prompts"],
        seed=given["seed"],
        marked=given["marks"],
        patience=given["patience"],
        processes=given["processes"],
    )


def _openai_model(given: dict[str, Any]) -> str:
    if given["name"]:
        raise click.UsageError("--openai takes one NAME")
    name: str | None = given["model"] or given["word"]
    if not name:
        raise click.UsageError("--openai needs --model")
    return name
