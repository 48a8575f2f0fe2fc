"""`builder gateway`."""

from __future__ import annotations

import sys

import click

from builder.commands import options


@click.command()
@click.option(
    "--triton",
    default="grpc://127.0.0.1:8001",
    show_default=True,
    metavar="URL",
    callback=options.not_empty,
    help="Triton's gRPC address; it may come later, go away and return.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=options.PORT, default=8080, show_default=True, help="0 takes a free one.")
@click.option(
    "--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes that answer."
)
@click.option(
    "--max-requests",
    type=click.IntRange(1, 1_000_000),
    default=1024,
    show_default=True,
    help="Requests that a worker answers at once; those beyond are refused with 429.",
)
@click.option(
    "--max-body",
    type=click.IntRange(1, 2**16),
    default=16,
    show_default=True,
    metavar="MIB",
    help="The largest body taken, in MiB.",
)
@click.option(
    "--keep-alive",
    type=options.FiniteRange(0.01, 3600),
    default=10.0,
    show_default=True,
    help="Seconds of silence after which a stream gets a comment.",
)
@click.option(
    "--exit-timeout",
    type=click.IntRange(0, 86_400),
    default=10,
    show_default=True,
    help="Seconds for streams to finish at the end.",
)
def command(
    triton: str,
    host: str,
    port: int,
    workers: int,
    max_requests: int,
    max_body: int,
    keep_alive: float,
    exit_timeout: int,
) -> None:
    """Answer OpenAI's API by what a Triton serves, until Ctrl-C or SIGTERM; streams then finish.

    READY is printed when it answers. It learns the models from Triton, whichever come and go.
    """
    from builder.errors import UsageError

    try:
        from builder.gateway import running
        from builder.gateway.door import Settings
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("builder"):
            raise
        raise UsageError(
            f"{error.name} is not installed, which the gateway needs",
            remedy='pip install "builder[gateway]"',
        ) from error

    address = _host_and_port(triton)

    def ready(own: str) -> None:
        click.echo(f"READY  http://{own}  triton grpc://{address}")
        sys.stdout.flush()

    running.run(
        Settings(address, max_requests, max_body * 2**20, keep_alive),
        host=host,
        port=port,
        workers=workers,
        exit_timeout=exit_timeout,
        ready=ready,
    )


def _host_and_port(url: str) -> str:
    """Return HOST:PORT of grpc://HOST:PORT, which may also be given bare."""
    from builder.errors import UsageError

    host, _, port = url.removeprefix("grpc://").rstrip("/").rpartition(":")
    if "://" in host or not host or not port.isdecimal():
        raise UsageError(f"--triton is {url!r}", expected="grpc://HOST:PORT")
    return f"{host}:{port}"
