"""The options of `builder measure`: whom to ask, how often, with what, and what to do with the figures."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from builder.commands import options
from builder.commands.options import Command

FILE = click.Path(path_type=Path, dir_okay=False)
PLACE = click.Path(path_type=Path)
A_DAY = 86_400


def _key(context: click.Context, option: click.Parameter, variable: str | None) -> str | None:
    if variable is not None and not os.environ.get(variable):
        raise click.BadParameter(f"the environment has no {variable}")
    return os.environ[variable] if variable else None


def _object(context: click.Context, option: click.Parameter, text: str | None) -> dict[str, Any]:
    try:
        found = json.loads("{}" if text is None else text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise click.BadParameter(f"{text!r} is no JSON object")
    return found


_SERVER = (
    click.option(
        "--url",
        callback=options.not_empty,
        metavar="URL",
        help="HTTP address of a running server; without it one is booted here.",
    ),
    click.option(
        "--grpc-url",
        callback=options.not_empty,
        metavar="HOST:PORT",
        help="Its gRPC address; default: the port after --url's.",
    ),
    click.option(
        "--metrics-url",
        callback=options.not_empty,
        metavar="HOST:PORT",
        help="Its metrics address; default: two ports after --url's.",
    ),
    click.option(
        "--directory",
        type=click.Path(path_type=Path),
        default=options.DEFAULT_REPOSITORY,
        show_default=True,
        help="The same as DIRECTORY.",
    ),
    click.option(
        "--door",
        type=click.Choice(["grpc", "http"]),
        default="grpc",
        show_default=True,
        help="How Triton is asked.",
    ),
)
_ENDPOINT = (
    click.option(
        "--openai", callback=options.not_empty, metavar="URL", help="Measure an OpenAI chat endpoint instead."
    ),
    click.option(
        "--model", callback=options.not_empty, metavar="M", help="The model it is asked for; default: NAME."
    ),
    click.option(
        "--api-key-env",
        callback=_key,
        metavar="VAR",
        help="Environment variable that holds its key.",
    ),
)
_LOAD = (
    click.option(
        "--concurrency", metavar="N,...", help="Closed loop: so many requests at once; 1,4,16 without --rate."
    ),
    click.option("--rate", metavar="R,...", help="Open loop: so many random arrivals per second."),
    click.option(
        "--requests",
        type=click.IntRange(1, 1_000_000),
        metavar="N",
        help="Requests per run; default: by the load.",
    ),
    click.option(
        "--seconds",
        type=options.FiniteRange(0, A_DAY, min_open=True),
        metavar="S",
        help="Measure the requests that begin within S seconds instead.",
    ),
    click.option(
        "--warm-up",
        type=click.IntRange(0, 1_000_000),
        metavar="N",
        help="Requests before each run; default: one per worker.",
    ),
    click.option(
        "--processes",
        type=click.IntRange(1, 64),
        default=1,
        show_default=True,
        metavar="N",
        help="Ask from so many processes, where one is slower than the server.",
    ),
    click.option(
        "--repeat",
        type=click.IntRange(1, 1000),
        default=1,
        show_default=True,
        metavar="N",
        help="Run every load N times.",
    ),
)
_ASKED = (
    click.option(
        "--prompts",
        type=FILE,
        metavar="FILE",
        help='JSON lines of {"messages": [...]}, {"prompt": "..."} or {INPUT: VALUE}; default: by the model.',
    ),
    click.option(
        "--output-tokens",
        type=click.IntRange(1),
        default=128,
        show_default=True,
        metavar="N",
        help="Tokens of every answer of a model that streams.",
    ),
    click.option(
        "--extra",
        callback=_object,
        metavar="JSON",
        help="Object merged into every request, such as '{\"ignore_eos\": true}'.",
    ),
    click.option("--seed", type=click.IntRange(0), metavar="N", help="The very same requests each time."),
    click.option(
        "--marks/--no-marks",
        default=True,
        show_default=True,
        help="Begin each prompt with a mark of its own, unknown to any cache.",
    ),
    click.option(
        "--keep-up/--no-keep-up",
        default=True,
        show_default=True,
        help="Go on asking, unmeasured, until the last of --requests has ended.",
    ),
    click.option(
        "--patience",
        type=options.FiniteRange(0, A_DAY, min_open=True),
        default=60.0,
        show_default=True,
        metavar="S",
        help="Give a request up after S seconds without a response.",
    ),
)
_RESULT = (
    click.option(
        "--require",
        callback=options.not_empty,
        metavar="RULES",
        help="Exit 1 unless every run holds, such as 'ttft_p95<500ms,error_rate==0'.",
    ),
    click.option(
        "--output",
        type=PLACE,
        callback=options.writable,
        metavar="FILE",
        help="Write the measurement there as JSON.",
    ),
    click.option(
        "--html",
        type=PLACE,
        callback=options.writable,
        metavar="FILE",
        help="Write a report with plots there.",
    ),
    click.option(
        "--compare", nargs=2, type=FILE, metavar="A B", help="Compare two such files; measures nothing."
    ),
)


def measuring(command: Command) -> Command:
    """Give a command all of them, in this order."""
    for option in reversed((*_SERVER, *_ENDPOINT, *_LOAD, *_ASKED, *_RESULT)):
        command = option(command)
    return command
