"""`builder gateway`."""

from __future__ import annotations

import sys
from pathlib import Path

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
    "--max-connections",
    type=click.IntRange(1, 1_000_000),
    default=10_000,
    show_default=True,
    help="Connections open to a worker at once, as far as its limit of files allows; others get 503.",
)
@click.option(
    "--head-timeout",
    type=options.FiniteRange(0.1, 3600),
    default=10.0,
    show_default=True,
    help="Seconds for a client to send the headers of a request.",
)
@click.option(
    "--body-timeout",
    type=options.FiniteRange(0.1, 3600),
    default=60.0,
    show_default=True,
    help="Seconds for a client to send the body of a request.",
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
@click.option(
    "--tls-certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Speak TLS with this certificate, a PEM file that may hold the key too.",
)
@click.option(
    "--tls-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The certificate's key, a PEM file without a password.",
)
@click.option(
    "--keys",
    envvar="BUILDER_KEYS",
    metavar="URL",
    callback=options.not_empty,
    help="Answer only who has a key of this database: sqlite:///PATH, a path, or postgresql://...",
)
@click.option(
    "--prices",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What tokens cost, model by model; a TOML file.",
)
@click.option(
    "--routes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Aliases, splits, canaries and fallbacks; a TOML file, read again as it changes.",
)
def command(
    triton: str,
    host: str,
    port: int,
    workers: int,
    max_requests: int,
    max_connections: int,
    head_timeout: float,
    body_timeout: float,
    max_body: int,
    keep_alive: float,
    exit_timeout: int,
    tls_certificate: Path | None,
    tls_key: Path | None,
    keys: str | None,
    prices: Path | None,
    routes: Path | None,
) -> None:
    """Answer OpenAI's API by what a Triton serves, until Ctrl-C or SIGTERM; streams then finish.

    READY is printed when it answers. It learns the models from Triton, whichever come and go.
    """
    from builder.errors import UsageError

    try:
        from builder.gateway import running, tls
        from builder.gateway.clients import Bounds
        from builder.gateway.door import Settings
        from builder.gateway.keys.prices import Prices, read
        from builder.gateway.routing import reading
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("builder"):
            raise
        raise UsageError(
            f"{error.name} is not installed, which the gateway needs",
            remedy='pip install "builder[gateway]"',
        ) from error

    address = _host_and_port(triton)
    settings = Settings(
        address,
        max_requests,
        max_body * 2**20,
        body_timeout,
        keep_alive,
        _database(keys),
        read(prices) if prices else Prices(),
        routes.absolute() if routes else None,
    )
    if prices and not keys:
        raise UsageError(
            "--prices are what the tokens of a key cost, and --keys is not given",
            remedy="pass --keys too, or leave --prices out",
        )
    if routes:
        reading.parse(reading.read(routes), routes)
    if not keys and host not in ("127.0.0.1", "::1", "localhost"):
        click.echo(f"whoever reaches {host} is answered: --keys asks for a key", err=True)

    def ready(own: str) -> None:
        click.echo(f"READY  {own}  triton grpc://{address}")
        sys.stdout.flush()

    running.run(
        settings,
        host=host,
        port=port,
        workers=workers,
        exit_timeout=exit_timeout,
        clients=Bounds(head_timeout, body_timeout, connections=max_connections),
        tls=tls.of_options(tls_certificate, tls_key),
        ready=ready,
    )


def _host_and_port(url: str) -> str:
    """Return HOST:PORT of grpc://HOST:PORT, which may also be given bare."""
    from builder.errors import UsageError

    host, _, port = url.removeprefix("grpc://").rstrip("/").rpartition(":")
    if "://" in host or not host or not port.isdecimal():
        raise UsageError(f"--triton is {url!r}", expected="grpc://HOST:PORT")
    return f"{host}:{port}"


def _database(url: str | None) -> str:
    """Return the address of a database of keys that is there and has its tables, "" for none."""
    if not url:
        return ""
    from contextlib import closing

    from builder.gateway.keys import database

    with closing(database.connect(url)) as opened:
        database.prepare(opened)
    return url
