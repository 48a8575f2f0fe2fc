"""The command line: finds the command's file, and tells every failure in one way."""

from __future__ import annotations

import errno
import importlib
import os
from typing import Any

import click

import builder
from builder import signals
from builder.errors import BuilderError, Interrupted

COMMANDS = (
    "plan",
    "build",
    "import",
    "check",
    "serve",
    "verify",
    "measure",
    "compare",
    "chat",
    "gateway",
    "keys",
    "deploy",
    "list",
    "doctor",
)
"""The files of `commands/`, in the order of the line."""


class Commands(click.Group):
    """Commands in the order of the line; the file of one is read when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"builder.commands.{name}").command
        return command

    def invoke(self, context: click.Context) -> Any:
        if os.environ.get("NO_COLOR"):  # https://no-color.org
            context.color = False
        with signals.as_exit() as received:
            try:
                return super().invoke(context)
            except BuilderError as error:
                _complain(error)
                context.exit(error.exit_code)
            except KeyboardInterrupt:
                _complain(Interrupted("interrupted", remedy=_again(context)))
                context.exit(Interrupted.exit_code)
            except OSError as error:
                if error.errno == errno.EPIPE:
                    raise  # whoever read our output has had enough
                _complain(BuilderError(str(error), remedy="make room or choose another place"))
                context.exit(BuilderError.exit_code)
            finally:
                if received:
                    _complain(Interrupted(f"ended by {received[0].name}", remedy=_again(context)))


def _again(context: click.Context) -> str:
    built = context.invoked_subcommand in ("build", "compare")
    return "run the same command again: finished stages are kept" if built else ""


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
    builder measure                   how fast it answers, at which load
    builder compare smollm2           size, speed and loss of every quantization of it
    builder chat                      talk to it in the terminal
    builder gateway                   answer OpenAI's API in front of it
    builder keys create NAME          a key for its clients, with limits
    builder deploy compose            write the files that serve it with Docker Compose
    """


if __name__ == "__main__":
    main()
