"""Options that several commands take, and how they print."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from builder.printing import plain

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_REPOSITORY = "model_repository"
PORT = click.IntRange(0, 65535)


class Folder(click.Path):
    """A path whose empty spelling, that of an unset variable, does not mean the current folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("is empty; leave it out or name a folder", param, ctx)
        return super().convert(value, param, ctx)


class FiniteRange(click.FloatRange):
    """A range that no `nan` slips through: every comparison with it is false."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number


def not_empty(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Refuse an empty value: an unset variable in a script must not mean "not given"."""
    if value == "":
        raise click.BadParameter("is empty; leave the option out or give it a value")
    return value


def size(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """Return the bytes of a size such as 6GB."""
    from builder.planning import byte_sizes

    return None if value is None else byte_sizes.read(option.opts[0], value)


def writable(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    """Refuse a file that could not be written, before the work whose result it is to hold."""
    if value is None:
        return None
    if value.is_dir():
        raise click.BadParameter(f"{value} is a folder; name a file")
    if not value.parent.is_dir():
        raise click.BadParameter(f"the folder {value.parent} does not exist; make it first")
    if not os.access(value if value.exists() else value.parent, os.W_OK):
        raise click.BadParameter(f"{value} may not be written by this user; choose another place")
    return value


def trusted(context: click.Context, option: click.Parameter, value: bool) -> None:
    """Let the command read files that run the code they hold, as long as it lasts."""
    from builder import trust

    context.with_resource(trust.granted(value))


def codes(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the beginnings of rules' codes, given one by one or between commas."""
    from builder.check import rules

    found = tuple(code for value in values for code in value.split(","))
    for code in found:
        if not code or not any(one.code.startswith(code) for one in rules()):
            raise click.BadParameter(f"{code!r} is the beginning of no rule's code, such as TRN201 or TRN5")
    return found


ignore = click.option(
    "--ignore",
    multiple=True,
    callback=codes,
    metavar="CODES",
    help="Leave out the rules of `builder check` whose codes begin so.",
)

directory = click.argument("directory", type=Folder(), default=DEFAULT_REPOSITORY)
"""The model repository, the one in this folder when none is named."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


driver = click.option(
    "--driver",
    callback=not_empty,
    metavar="VERSION",
    help="NVIDIA driver where it is to run, such as 570.86.10: no container that it is too old for.",
)


def planning(command: Command) -> Command:
    options = [
        click.option(
            "--checkpoint",
            callback=not_empty,
            metavar="PATH",
            help="Folder, .gguf file or ORG/NAME instead of the recipe's.",
        ),
        click.option("--target", metavar="T", help="How to run it (`builder list`)."),
        click.option(
            "--contract", metavar="C", help="What clients and Triton see, by default ours (`builder list`)."
        ),
        click.option("--quantize", metavar="Q", help="Precision of the weights (`builder list`)."),
        click.option(
            "--fit",
            callback=size,
            metavar="SIZE",
            help="Memory it may take when served, such as 6GB: each part gets the best type that fits.",
        ),
        click.option(
            "--sensitivities",
            callback=not_empty,
            metavar="FILE",
            help="What each part loses, for --fit: a build measures and writes it where it is not there yet.",
        ),
        click.option(
            "--gpu",
            callback=not_empty,
            metavar="GPU",
            help="Plan for this GPU, such as h200; without it for a CPU.",
        ),
        click.option("--tp", type=int, default=1, show_default=True, help="GPUs that share every layer."),
        click.option(
            "--pp", type=int, default=1, show_default=True, help="Groups of GPUs that share the layers."
        ),
        click.option(
            "--ep",
            type=int,
            default=1,
            show_default=True,
            help="Groups of the GPUs of --tp that share out the experts of a layer.",
        ),
        click.option(
            "--hosts",
            callback=not_empty,
            metavar="N",
            help="Hosts that share the GPUs evenly: their number, or their names, such as gpu-a,gpu-b.",
        ),
        click.option("--max-context", type=int, metavar="N", help="Longest prompt and answer in tokens."),
        click.option(
            "--concurrency", type=int, metavar="N", help="Requests that run at once at full length."
        ),
        click.option(
            "--profile",
            "profiles",
            multiple=True,
            metavar="ENGINE=FILE",
            help="Choose the CPU engine by this measurement of it (repeatable).",
        ),
        click.option("--triton", metavar="TAG", help="Container to plan for, such as 26.08."),
        driver,
        click.option(
            "--accelerate",
            callback=not_empty,
            metavar="NAMES",
            help="What ONNX Runtime hands the graph to, such as tensorrt (comma-separated).",
        ),
        click.option(
            "--kv-cache",
            callback=not_empty,
            metavar="TYPE",
            help="What the KV cache is kept in: bf16, fp16, fp8 or int8; else what the checkpoint says.",
        ),
        click.option(
            "--calibration",
            callback=not_empty,
            metavar="FILE",
            help="Texts of your own to measure scales with, as JSON lines; else the shipped ones.",
        ),
        click.option(
            "--calibration-samples",
            type=click.IntRange(1),
            metavar="N",
            help="How many of these texts, from the first on; else all.",
        ),
        click.option(
            "--calibration-length",
            type=click.IntRange(8),
            metavar="N",
            help="How many tokens of each are used; else 512.",
        ),
        click.option(
            "--workload",
            callback=not_empty,
            metavar="FILE",
            help="Prompts as they will be asked, as JSON lines: a warning where calibration's are unlike.",
        ),
        click.option(
            "--evaluate",
            "evaluation",
            callback=not_empty,
            metavar="FILE",
            help="Texts of your own to measure on what was lost, as JSON lines; else the shipped ones.",
        ),
        click.option(
            "--max-perplexity-ratio",
            type=click.FloatRange(1),
            help="Perplexity on them, as many times the source's.",
        ),
        click.option(
            "--max-divergence",
            type=click.FloatRange(0),
            help="Mean KL divergence from the source on them, in nats.",
        ),
        click.option(
            "--min-agreement",
            type=click.FloatRange(0, 1),
            help="Share of their tokens at which the source's first choice is the same.",
        ),
        click.option(
            "--speculate",
            type=int,
            metavar="N",
            help="Guess N tokens ahead in each step, by passages of the request's own text or by --draft.",
        ),
        click.option(
            "--ngram",
            callback=not_empty,
            metavar="MIN-MAX",
            help="How many tokens such a passage has, such as 2-4.",
        ),
        click.option(
            "--draft",
            callback=not_empty,
            metavar="PATH",
            help="Smaller model that guesses: folder, .gguf file or ORG/NAME.",
        ),
        click.option(
            "--lora",
            "adapters",
            multiple=True,
            metavar="NAME=FOLDER",
            help="A LoRA adapter (PEFT's folder) that requests may name (repeatable).",
        ),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="engine.NAME=VALUE",
            help="Tell the engine this instead of what was planned (repeatable).",
        ),
        click.option(
            "--trust-pickle",
            is_flag=True,
            expose_value=False,
            callback=trusted,
            help="Read a checkpoint that is a pickle, which runs whatever code it holds.",
        ),
        click.option(
            "--lock",
            "lock_file",
            type=click.Path(path_type=Path),
            envvar="BUILDER_LOCK",
            metavar="FILE",
            show_default="builder.lock",
            help="File that pins what is taken; beside a recipe's own file, else here; none for no lock.",
        ),
        click.option("--update-lock", is_flag=True, help="Take what is newest, and pin that instead."),
        click.option(
            "--name", "served_name", callback=not_empty, metavar="NAME", help="Name to serve it under."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def planned(values: dict[str, Any]) -> Any:
    from builder.plan import Options

    return Options(
        target=values["target"],
        quantize=values["quantize"],
        tensor_parallel=values["tp"],
        pipeline_parallel=values["pp"],
        expert_parallel=values["ep"],
        gpu=values["gpu"],
        hosts=values["hosts"],
        max_context=values["max_context"],
        concurrency=values["concurrency"],
        triton=values["triton"],
        driver=values["driver"],
        profiles=values["profiles"],
        accelerate=values["accelerate"],
        settings=values["settings"],
        contract=values["contract"],
        cache_type=values["kv_cache"],
        calibration=values["calibration"],
        calibration_samples=values["calibration_samples"],
        calibration_length=values["calibration_length"],
        workload=values["workload"],
        evaluation=values["evaluation"],
        max_perplexity_ratio=values["max_perplexity_ratio"],
        max_divergence=values["max_divergence"],
        min_agreement=values["min_agreement"],
        speculate=values["speculate"],
        ngram=values["ngram"],
        draft=values["draft"],
        adapters=values["adapters"],
        fit=values["fit"],
        sensitivities=values["sensitivities"],
    )


def lock_of(name: str, asked: Path | None, *, writing: bool) -> Path | None:
    """Return the lock of a model, None for none; refuse one that could not be written."""
    from builder import lock

    path = lock.beside(name) if asked is None else asked
    if str(path) == lock.NOWHERE:
        return None
    if path.is_dir() or (writing and not os.access(path if path.exists() else path.parent, os.W_OK)):
        raise click.BadParameter(
            f"{path} may not be written by this user; name another file, or --lock {lock.NOWHERE}",
            param_hint="--lock",
        )
    return path


_ports = (
    click.option("--http-port", type=PORT, show_default="8000", help="0 takes a free one."),
    click.option("--grpc-port", type=PORT, show_default="8001", help="0 takes a free one."),
    click.option("--metrics-port", type=PORT, show_default="8002", help="0 takes a free one."),
)


def ports(command: Command) -> Command:
    for option in reversed(_ports):
        command = option(command)
    return command


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout, which is UTF-8 whatever the terminal's encoding is."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, default=str)
    click.echo(plain.encodable(text).encode())
