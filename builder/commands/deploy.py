"""`builder deploy`: one command per way to run a repository elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from builder.commands import options

PORT = click.IntRange(1, 65535)


@click.group()
def command() -> None:
    """Write the files that run a model repository in production."""


@command.command()
@options.directory
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default="deploy",
    show_default=True,
    help="Folder to write to.",
)
@click.option("--triton", metavar="TAG", help="NVIDIA's container, such as 26.08; the newest without it.")
@click.option(
    "--gpus", metavar="all|N|none", help="GPUs for the container; as many as the models need without it."
)
@click.option(
    "--bind", default="127.0.0.1", show_default=True, help="Address of this machine to publish ports on."
)
@click.option("--http-port", type=PORT, default=8000, show_default=True, help="Port of HTTP.")
@click.option("--grpc-port", type=PORT, default=8001, show_default=True, help="Port of gRPC.")
@click.option("--metrics-port", type=PORT, default=8002, show_default=True, help="Port of the metrics.")
@click.option("--openai-port", type=PORT, default=8080, show_default=True, help="Port of the gateway.")
@click.option(
    "--memory", callback=options.not_empty, metavar="SIZE", help="Limit, such as 8g; none without it."
)
@click.option(
    "--package",
    "packages",
    multiple=True,
    metavar="MODULE=NAME==VERSION",
    help="What brings a module that your own Python models import (repeatable).",
)
@click.option(
    "--lock",
    "lock_file",
    type=click.Path(path_type=Path),
    envvar="BUILDER_LOCK",
    metavar="FILE",
    default="builder.lock",
    show_default=True,
    help="File that pins the image, where it does; none for no lock.",
)
@click.option("--force", is_flag=True, help="Overwrite files that were changed by somebody.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def compose(
    directory: Path,
    output: Path,
    triton: str | None,
    gpus: str | None,
    bind: str,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    openai_port: int,
    memory: str | None,
    packages: tuple[str, ...],
    lock_file: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Write a compose.yaml and Dockerfiles that serve DIRECTORY in NVIDIA's container.

    A gateway for OpenAI's API is a service of the profile openai.

    The same DIRECTORY and options give the same files. A file that somebody changed stays as it is.
    """
    from builder import deploy, lock
    from builder.deployment import Options, deployment
    from builder.printing import deployments

    asked = Options(
        triton,
        gpus,
        bind,
        http_port,
        grpc_port,
        metrics_port,
        memory,
        packages,
        None if str(lock_file) == lock.NOWHERE else lock_file,
        openai_port,
    )
    decided = deployment(directory, asked)
    written = deploy.write(deploy.compose(decided, output), output, force=force)
    if as_json:
        options.print_json(deployments.to_json(decided, output, written))
    else:
        deployments.show(decided, output, written)
