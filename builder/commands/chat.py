"""`builder chat`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.commands import options

if TYPE_CHECKING:
    from builder.chat import Conversation


@click.command()
@click.argument("name", required=False)
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=options.DEFAULT_REPOSITORY,
    show_default=True,
    help="The model repository to boot a server on.",
)
@click.option(
    "--url", metavar="URL", callback=options.not_empty, help="HTTP address of a running server instead."
)
@click.option(
    "--grpc-url",
    metavar="HOST:PORT",
    callback=options.not_empty,
    help="Its gRPC address, enough by itself; default: the port after --url's.",
)
@click.option("--system", default="", metavar="TEXT", help="The system prompt.")
@click.option(
    "--once",
    metavar="TEXT",
    callback=options.not_empty,
    help="Print the answer to TEXT and end; - reads it from standard input.",
)
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="The most tokens of an answer.")
@click.option(
    "--temperature", type=options.FiniteRange(0, 100), metavar="T", help="0, the default, is greedy."
)
@click.option(
    "--seed", type=click.IntRange(0, 2**64 - 1), metavar="N", help="The same seed samples the same answers."
)
@click.option("--json", "as_json", is_flag=True, help="With --once: print the whole answer as JSON.")
def command(
    name: str | None,
    directory: Path,
    url: str | None,
    grpc_url: str | None,
    system: str,
    once: str | None,
    max_tokens: int | None,
    temperature: float | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Chat with the model NAME in the terminal; NAME may be left out when there is only one.

    Without --url a server is booted on the repository for the time of it. Ctrl-C stops an answer; at an
    empty prompt it leaves, as Ctrl-D does. Messages may also be piped in, one a line.
    """
    from builder.chat import Conversation, Settings
    from builder.chatting import lines
    from builder.chatting.connecting import connected
    from builder.chatting.talking import talk
    from builder.errors import UsageError
    from builder.printing import chats

    if as_json and once is None:
        raise UsageError("--json prints one answer", remedy="add --once TEXT")
    message = lines.whole() if once == "-" else once
    with ExitStack() as stack, _interruptible():
        with chats.booting(not url and not grpc_url):
            found = stack.enter_context(connected(name, directory, url, grpc_url))
        settings = Settings(max_tokens, temperature, seed)
        conversation = Conversation(found.client, found.front, settings, system=system, remedy=found.remedy)
        if message is not None:
            _answer_once(conversation, message, as_json)
            return
        if lines.is_terminal():
            chats.greet(found.front, found.client.grpc)
            talk(conversation, lines.typed(*chats.prompts()), chats.Screen())
        elif not talk(conversation, lines.piped(), chats.Screen()):
            sys.exit(1)


def _answer_once(conversation: Conversation, message: str, as_json: bool) -> None:
    from builder.chatting.interrupts import Interrupts
    from builder.errors import Interrupted
    from builder.printing import chats

    screen = chats.Screen(bare=True)
    with Interrupts() as interrupts:
        try:
            answer = conversation.ask(message, _unheard if as_json else screen.hear, interrupts)
        except BaseException:
            screen.break_off()
            raise
    if as_json:
        options.print_json(chats.to_json(conversation.front, answer))
    else:
        screen.end(answer)
    if interrupts():
        raise Interrupted("interrupted: the server was told to stop the answer")


def _unheard(text: str, reasoning: str) -> None:
    """Leave the pieces of an answer that is printed whole."""


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C during the boot or the end has nothing of a build about it."""
    from builder.errors import Interrupted

    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted") from None
