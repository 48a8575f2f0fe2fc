"""`builder measure`."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from builder.commands import options

if TYPE_CHECKING:
    from builder.errors import BuilderError
    from builder.measure import Measurement, Options

FILE = click.Path(path_type=Path, dir_okay=False)
PLACE = click.Path(path_type=Path)
A_DAY = 86_400


@click.command()
@click.argument("name", required=False)
@click.option(
    "--url",
    callback=options.not_empty,
    metavar="URL",
    help="HTTP address of a running server; without it one is booted here.",
)
@click.option(
    "--grpc-url",
    callback=options.not_empty,
    metavar="HOST:PORT",
    help="Its gRPC address; default: the port after --url's.",
)
@click.option(
    "--metrics-url",
    callback=options.not_empty,
    metavar="HOST:PORT",
    help="Its metrics address; default: two ports after --url's.",
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=options.DEFAULT_REPOSITORY,
    show_default=True,
    help="Model repository to boot.",
)
@click.option(
    "--door",
    type=click.Choice(["grpc", "http"]),
    default="grpc",
    show_default=True,
    help="How Triton is asked.",
)
@click.option(
    "--openai", callback=options.not_empty, metavar="URL", help="Measure an OpenAI chat endpoint instead."
)
@click.option(
    "--model", callback=options.not_empty, metavar="M", help="The model it is asked for; default: NAME."
)
@click.option(
    "--api-key-env",
    callback=options.not_empty,
    metavar="VAR",
    help="Environment variable that holds its key.",
)
@click.option(
    "--concurrency", metavar="N,...", help="Closed loop: so many requests at once; 1,4,16 without --rate."
)
@click.option("--rate", metavar="R,...", help="Open loop: so many random arrivals per second.")
@click.option(
    "--requests",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Requests per run; default: by the load.",
)
@click.option(
    "--seconds",
    type=options.FiniteRange(0, A_DAY, min_open=True),
    metavar="S",
    help="Measure the requests that begin within S seconds instead.",
)
@click.option(
    "--warm-up",
    type=click.IntRange(0, 1_000_000),
    metavar="N",
    help="Requests before each run; default: one per worker.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    metavar="N",
    help="Run every load N times.",
)
@click.option(
    "--prompts",
    type=FILE,
    metavar="FILE",
    help='JSON lines of {"messages": [...]} or {"prompt": "..."}; default: a shipped set.',
)
@click.option(
    "--output-tokens",
    type=click.IntRange(1),
    default=128,
    show_default=True,
    metavar="N",
    help="Tokens of every answer.",
)
@click.option(
    "--extra", metavar="JSON", help="Object merged into every request, such as '{\"ignore_eos\": true}'."
)
@click.option("--seed", type=click.IntRange(0), metavar="N", help="The very same requests each time.")
@click.option(
    "--marks/--no-marks",
    default=True,
    show_default=True,
    help="Begin each prompt with a mark of its own, unknown to any cache.",
)
@click.option(
    "--keep-up/--no-keep-up",
    default=True,
    show_default=True,
    help="Go on asking, unmeasured, until the last of --requests has ended.",
)
@click.option(
    "--patience",
    type=options.FiniteRange(0, A_DAY, min_open=True),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Give a request up after S seconds without a response.",
)
@click.option(
    "--require",
    callback=options.not_empty,
    metavar="RULES",
    help="Exit 1 unless every run holds, such as 'ttft_p95<500ms,error_rate==0'.",
)
@click.option(
    "--output",
    type=PLACE,
    callback=options.writable,
    metavar="FILE",
    help="Write the measurement there as JSON.",
)
@click.option(
    "--html", type=PLACE, callback=options.writable, metavar="FILE", help="Write a report with plots there."
)
@click.option(
    "--compare", nargs=2, type=FILE, metavar="A B", help="Compare two such files; measures nothing."
)
@options.as_json
def command(compare: tuple[Path, Path] | None, as_json: bool, **given: Any) -> None:
    """Measure how fast the model NAME answers: throughput, time to first token, latency, memory.

    NAME may be left out where the server has one front. With --openai it is the name in the report.
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
    measured = _measured(given)
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


def _refuse_beside_compare(given: dict[str, Any]) -> None:
    context = click.get_current_context()
    for name in given:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            shown = "NAME" if name == "name" else f"--{name.replace('_', '-')}"
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


def _measured(given: dict[str, Any]) -> Measurement:
    from builder.measure import measure
    from builder.measuring import place
    from builder.measuring.running import running
    from builder.printing.progress import Progress

    _refuse_idle_options(given)
    wanted = _options(given)
    extra = _extra(given["extra"])
    line = shlex.join(["builder", *sys.argv[1:]])
    with Progress() as progress:
        if given["openai"]:
            there = place.openai(
                given["openai"],
                model=_model(given),
                key=_key(given["api_key_env"]),
                output_tokens=wanted.output_tokens,
                extra=extra,
            )
            return measure(there, wanted, command=line, progress=progress)
        with running(given["directory"], given["url"], given["grpc_url"], given["metrics_url"], progress) as (
            http,
            grpc,
            metrics,
        ):
            there = place.triton(
                http,
                grpc,
                metrics,
                door=given["door"],
                name=given["name"],
                output_tokens=wanted.output_tokens,
                extra=extra,
            )
            if given["url"] and given["door"] == "grpc":
                place.require_grpc(grpc)
            return measure(there, wanted, command=line, progress=progress)


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
    )


def _extra(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads("{}" if text is None else text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise click.BadParameter(f"{text!r} is no JSON object", param_hint="--extra")
    return found


def _model(given: dict[str, Any]) -> str:
    name: str | None = given["model"] or given["name"]
    if not name:
        raise click.UsageError("--openai needs --model")
    return name


def _key(variable: str | None) -> str | None:
    if variable is not None and not os.environ.get(variable):
        raise click.BadParameter(f"the environment has no {variable}", param_hint="--api-key-env")
    return os.environ[variable] if variable else None
