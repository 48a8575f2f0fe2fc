"""`builder serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from builder.commands import options


class OptionalPort(click.IntRange):
    """A port that may be left out: Click takes a folder that stands behind the option for one."""

    name = "port"

    def __init__(self) -> None:
        super().__init__(0, 65535)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and not value.isdecimal():
            self.fail(f"{value!r} is no port; name a folder before the option: {value} --openai", param, ctx)
        return super().convert(value, param, ctx)


@click.command()
@options.directory
@click.option("--using", default="embedded", show_default=True, help="embedded, docker or remote.")
@options.ports
@click.option(
    "--timeout",
    type=options.FiniteRange(0, 86_400, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds until every model must answer.",
)
@click.option(
    "--exit-timeout",
    type=click.IntRange(0, 86_400),
    default=30,
    show_default=True,
    help="Seconds for requests in flight at the end.",
)
@click.option("--url", default="", metavar="URL", help="The running server, with --using remote.")
@click.option("--image", metavar="IMAGE", help="Image made from docker/Dockerfile, with --using docker.")
@click.option("--triton", metavar="TAG", help="NVIDIA's container of that tag, with --using docker.")
@click.option("--gpus", default="", metavar="GPUS", help="GPUs for the container, such as all.")
@click.option(
    "--low-latency",
    is_flag=True,
    help="Keep this machine's processors from sleeping between requests, which takes power.",
)
@click.option(
    "--model-control",
    type=click.Choice(("none", "explicit")),
    default="none",
    show_default=True,
    help="explicit lets clients unload models and load them again.",
)
@click.option(
    "--openai",
    "openai_port",
    type=OptionalPort(),
    is_flag=False,
    flag_value="8080",
    metavar="[PORT]",
    help="Also start `builder gateway`, on this port of loopback: 8080 where none is named, 0 a free one.",
)
@options.ignore
def command(
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
    low_latency: bool,
    model_control: str,
    openai_port: int | None,
    ignore: tuple[str, ...],
) -> None:
    """Serve DIRECTORY with Triton until Ctrl-C or SIGTERM; requests in flight then finish.

    READY is printed when every model of the folder is loaded and a real request was answered.
    """
    from builder import serve as serving
    from builder.check import Choice
    from builder.planning import versions
    from builder.server import Options, Server
    from builder.serving.gateway import GatewayProcess

    if low_latency and using == "remote":
        raise click.UsageError("--low-latency is about this machine: --using remote serves on another")
    if model_control != "none" and using == "remote":
        raise click.UsageError("--model-control is told to a server that starts: --using remote starts none")
    # a running server has its ports already: those that were not named follow its address
    habit = (0, 0, 0) if url else (8000, 8001, 8002)
    named = (http_port, grpc_port, metrics_port)
    http, grpc, metrics = (usual if port is None else port for port, usual in zip(named, habit, strict=True))
    image = image or versions.container(triton or versions.NEWEST_TAG).image
    options = Options(
        *(http, grpc, metrics, exit_timeout), url=url, image=image, gpus=gpus, model_control=model_control
    )

    if openai_port and openai_port in (http, grpc, metrics):
        raise click.UsageError(f"--openai {openai_port} is a port of Triton's: choose another one")
    gateway = None if openai_port is None else GatewayProcess(openai_port, exit_timeout)

    def ready(server: Server) -> None:
        told = f"READY  http://{server.http}  grpc://{server.grpc}  metrics http://{server.metrics}/metrics"
        click.echo(told + (f"  openai http://{gateway.address}/v1" if gateway else ""))
        sys.stdout.flush()

    code = serving.serve(
        directory,
        using=using,
        timeout=timeout,
        options=options,
        refusing=Choice(ignore=ignore),
        low_latency=low_latency,
        gateway=gateway,
        ready=ready,
        say=lambda text: click.echo(text, err=True),
    )
    sys.exit(code)
