"""The command line: parses and prints, decides nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

import builder
from builder.errors import BuilderError, Interrupted

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_REPOSITORY = "model_repository"
PORT = click.IntRange(0, 65535)


def _not_empty(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Refuse an empty value: an unset variable in a script must not mean "not given"."""
    if value == "":
        raise click.BadParameter("is empty; leave the option out or give it a value")
    return value


class Commands(click.Group):
    """Commands in the order of the line, and every failure told in one way."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except BuilderError as error:
            _complain(error)
            context.exit(error.exit_code)
        except KeyboardInterrupt:
            stopped = Interrupted(
                "interrupted", remedy="run the same command again: finished stages are kept"
            )
            _complain(stopped)
            context.exit(stopped.exit_code)


def _complain(error: BuilderError) -> None:
    first, *rest = error.sentence().splitlines()
    click.echo(f"{click.style('error:', fg='red', bold=True)} {first}", err=True)
    for line in rest:
        click.echo(f"  {line}", err=True)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(builder.__version__, prog_name="builder")
def main() -> None:
    """Turn a model checkpoint into a Triton model repository that is proven before anyone depends on it.

    \b
    builder plan smollm2              what would be written, and whether it fits
    builder build smollm2             convert, prove, write, check, boot, verify, publish
    builder serve                     serve ./model_repository until Ctrl-C
    builder verify                    ask a server everything its repository promises
    """


def _planning_options(command: Command) -> Command:
    options = [
        click.option(
            "--checkpoint",
            callback=_not_empty,
            metavar="PATH",
            help="Folder, .gguf file or ORG/NAME instead of the recipe's.",
        ),
        click.option("--target", metavar="T", help="How to run it (`builder list`)."),
        click.option("--quantize", metavar="Q", help="Precision of the weights (`builder list`)."),
        click.option(
            "--gpu",
            callback=_not_empty,
            metavar="GPU",
            help="Plan for this GPU, such as h200; without it for a CPU.",
        ),
        click.option("--tp", type=int, default=1, show_default=True, help="GPUs that share every layer."),
        click.option(
            "--pp", type=int, default=1, show_default=True, help="Groups of GPUs that share the layers."
        ),
        click.option("--max-context", type=int, metavar="N", help="Longest prompt and answer in tokens."),
        click.option(
            "--concurrency", type=int, metavar="N", help="Requests that run at once at full length."
        ),
        click.option("--triton", metavar="TAG", help="Container to plan for, such as 26.08."),
        click.option(
            "--name", "served_name", callback=_not_empty, metavar="NAME", help="Name to serve it under."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _options(values: dict[str, Any]) -> Any:
    from builder.plan import Options
    from builder.planning.versions import DEFAULT_TAG

    return Options(
        target=values["target"],
        quantize=values["quantize"],
        tensor_parallel=values["tp"],
        pipeline_parallel=values["pp"],
        gpu=values["gpu"],
        max_context=values["max_context"],
        concurrency=values["concurrency"],
        triton=values["triton"] or DEFAULT_TAG,
    )


@main.command()
@click.argument("name")
@_planning_options
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(name: str, as_json: bool, checkpoint: str | None, served_name: str | None, **values: Any) -> None:
    """Print what a build of NAME would write, and whether it fits; reads no weights.

    NAME is a recipe (`builder list`), the path of your own recipe, or any name with --checkpoint.
    """
    from builder.plan import plan as decide
    from builder.subjects import read

    subject, _ = read(name, checkpoint, served_name)
    planned = decide(subject, _options(values))
    if as_json:
        _print_json(planned.to_json())
    else:
        from builder.printing import plans

        plans.show(planned)


@main.command()
@click.argument("name")
@_planning_options
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=DEFAULT_REPOSITORY,
    show_default=True,
    help="Model repository to publish to.",
)
@click.option("--verify/--no-verify", "verifying", default=True, help="Boot and verify before publishing.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def build(
    name: str,
    output: Path,
    verifying: bool,
    as_json: bool,
    checkpoint: str | None,
    served_name: str | None,
    **values: Any,
) -> None:
    """Build NAME into a model repository: convert, prove, write, check, boot, verify, publish.

    Nothing is published that failed a stage; what is published already stays as it is.
    """
    from builder import pipeline
    from builder.printing import outcomes
    from builder.printing.progress import Progress

    with Progress() as progress:
        built = pipeline.build(
            name,
            output,
            _options(values),
            checkpoint=checkpoint,
            served_name=served_name,
            verifying=verifying,
            progress=progress,
        )
    if as_json:
        _print_json(outcomes.to_json(built))
    else:
        outcomes.show(built)


_ports = (
    click.option("--http-port", type=PORT, show_default="8000", help="0 takes a free one."),
    click.option("--grpc-port", type=PORT, show_default="8001", help="0 takes a free one."),
    click.option("--metrics-port", type=PORT, show_default="8002", help="0 takes a free one."),
)


def _port_options(command: Command) -> Command:
    for option in reversed(_ports):
        command = option(command)
    return command


@main.command()
@click.argument("directory", type=click.Path(path_type=Path), default=DEFAULT_REPOSITORY)
@click.option("--using", default="embedded", show_default=True, help="embedded, docker or remote.")
@_port_options
@click.option("--timeout", default=60.0, show_default=True, help="Seconds until every model must answer.")
@click.option(
    "--exit-timeout", default=30, show_default=True, help="Seconds for requests in flight at the end."
)
@click.option("--url", default="", metavar="URL", help="The running server, with --using remote.")
@click.option("--image", metavar="IMAGE", help="Image made from docker/Dockerfile, with --using docker.")
@click.option("--triton", metavar="TAG", help="NVIDIA's container of that tag, with --using docker.")
@click.option("--gpus", default="", metavar="GPUS", help="GPUs for the container, such as all.")
def serve(
    directory: Path,
    using: str,
    http_port: int | None,
    grpc_port: int | None,
    metrics_port: int | None,
    timeout: float,
    exit_timeout: int,
    url: str,
    image: str | None,
    triton: str | None,
    gpus: str,
) -> None:
    """Serve DIRECTORY with Triton until Ctrl-C or SIGTERM; requests in flight then finish.

    READY is printed when every model of the folder is loaded and a real request was answered.
    """
    from builder import serve as serving
    from builder.planning import versions
    from builder.server import Options, Server

    # a running server has its ports already: those that were not named follow its address
    habit = (0, 0, 0) if url else (8000, 8001, 8002)
    named = (http_port, grpc_port, metrics_port)
    http, grpc, metrics = (usual if port is None else port for port, usual in zip(named, habit, strict=True))
    image = image or versions.container(triton or versions.NEWEST_TAG).image
    options = Options(http, grpc, metrics, exit_timeout, url=url, image=image, gpus=gpus)

    def ready(server: Server) -> None:
        click.echo(
            f"READY  http://{server.http}  grpc://{server.grpc}  metrics http://{server.metrics}/metrics"
        )
        sys.stdout.flush()

    code = serving.serve(
        directory,
        using=using,
        timeout=timeout,
        options=options,
        ready=ready,
        say=lambda text: click.echo(text, err=True),
    )
    sys.exit(code)


@main.command()
@click.argument("directory", type=click.Path(path_type=Path), default=DEFAULT_REPOSITORY)
@click.option("--url", metavar="URL", help="HTTP address of a running server; without it one is booted here.")
@click.option("--grpc-url", metavar="HOST:PORT", help="Its gRPC address; default: the port after --url's.")
@click.option(
    "--metrics-url", metavar="HOST:PORT", help="Its metrics address; default: two ports after --url's."
)
@click.option("--name", "names", multiple=True, metavar="NAME", help="Verify this model only (repeatable).")
@click.option("--only", multiple=True, metavar="CHECK", help="Run this check only (repeatable).")
@click.option("--list", "listing", is_flag=True, help="Print the checks and end.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML there.")
def verify(
    directory: Path,
    url: str | None,
    grpc_url: str | None,
    metrics_url: str | None,
    names: tuple[str, ...],
    only: tuple[str, ...],
    listing: bool,
    as_json: bool,
    junit: Path | None,
) -> None:
    """Ask a server everything that the repository in DIRECTORY promises; exit 1 when something fails."""
    from builder import verifying
    from builder.printing import reports
    from builder.printing.progress import Progress

    if listing:
        reports.show_checks()
        return
    with Progress() as progress:
        report = verifying.run(
            directory, url, grpc_url, metrics_url, names=names, only=only, progress=progress
        )
    if junit:
        junit.write_text(report.to_junit(), encoding="utf-8")
    if as_json:
        click.echo(report.to_json(), nl=False)
    else:
        reports.show(report)
    sys.exit(0 if report.passed else 1)


@main.command()
@click.argument("directory", type=click.Path(path_type=Path), default=DEFAULT_REPOSITORY)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def check(directory: Path, as_json: bool) -> None:
    """Look for mistakes in DIRECTORY without booting anything; exit 1 when there are errors."""
    from builder.check import check as find
    from builder.printing import reports

    findings = find(directory)
    if as_json:
        _print_json([vars(finding) for finding in findings])
    else:
        reports.show_findings(findings)
    sys.exit(1 if any(finding.severity != "warning" for finding in findings) else 0)


@main.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(as_json: bool) -> None:
    """List recipes, targets, quantizations, architectures and GPUs."""
    from builder import catalogue

    found = catalogue.catalogue()
    if as_json:
        _print_json(found)
    else:
        from builder.printing import catalogues

        catalogues.show(found)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor(as_json: bool) -> None:
    """Say what is installed, which targets and servers can run here, and how to add what is missing."""
    from builder import doctor as diagnosing

    found = diagnosing.diagnose()
    if as_json:
        _print_json([vars(row) for row in found])
    else:
        from builder.printing import catalogues

        catalogues.show_diagnosis(found)
    sys.exit(0 if all(row.ready for row in found if row.needed) else 1)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, default=str))


if __name__ == "__main__":
    main()
