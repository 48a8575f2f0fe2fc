"""A conversation on the screen: answers on stdout, all else on stderr or on a terminal only."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click

from builder.chat import Answer, Refused

# What a terminal would obey instead of showing it: all control characters but tab and newline.
_UNSEEN = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


class Screen:
    """Streams plain text; on a terminal also reasoning, figures and hints, dimmed.

    `bare` leaves these out on a terminal too.
    """

    def __init__(self, *, bare: bool = False) -> None:
        self._terminal = sys.stdout.isatty()
        self._dims = self._terminal and not bare
        self._last = ""
        self._thinking = False

    def hear(self, text: str, reasoning: str) -> None:
        if reasoning and self._dims:
            self._write(reasoning, thinking=True)
        if text:
            self._write(text, thinking=False)

    def end(self, answer: Answer, most: int | None = None) -> None:
        if not self._last:
            click.echo()  # an empty answer is an empty line
        self.break_off()
        self.say(figures(answer))
        if answer.finish_reason == "length" and answer.output_tokens != most:
            self.say(
                f"the context of {answer.input_tokens + answer.output_tokens} tokens is full "
                f"({answer.input_tokens} + {answer.output_tokens}): /reset begins anew"
            )

    def refuse(self, error: Refused) -> None:
        self.break_off()
        first, *rest = error.sentence().splitlines()
        click.echo(f"{click.style('error:', fg='red', bold=True)} {first}", err=True)
        for line in rest:
            click.echo(f"  {line}", err=True)

    def say(self, text: str) -> None:
        if self._dims:
            click.secho(text, dim=True)

    def _write(self, text: str, *, thinking: bool) -> None:
        if thinking != self._thinking:
            self.break_off()
            self._thinking = thinking
        shown = text.translate(_UNSEEN) if self._terminal else text
        click.echo(click.style(shown, dim=True) if thinking else shown, nl=False)
        self._last = text[-1]

    def break_off(self) -> None:
        if self._last not in ("", "\n"):
            click.echo()
        self._last, self._thinking = "", False


def figures(answer: Answer) -> str:
    """Return tokens, pace and time to the first token on one line."""
    parts = [f"{answer.output_tokens} tokens"]
    if answer.tokens_per_second is not None:
        parts.append(f"{answer.tokens_per_second:.1f} tokens/s")
    if answer.first_seconds is not None:
        parts.append(f"first after {answer.first_seconds * 1000:.0f} ms")
    if answer.finish_reason in ("length", "cancelled"):
        parts.append({"length": "cut", "cancelled": "stopped"}[answer.finish_reason])
    return ", ".join(parts)


def to_json(front: str, answer: Answer) -> dict[str, Any]:
    """Return one whole answer; seconds and tokens per second are None where they cannot be known."""
    return {
        "name": front,
        "text": answer.text,
        "reasoning": answer.reasoning,
        "finish_reason": answer.finish_reason,
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
        "seconds": round(answer.seconds, 4),
        "first_token_seconds": answer.first_seconds and round(answer.first_seconds, 4),
        "tokens_per_second": answer.tokens_per_second and round(answer.tokens_per_second, 2),
    }


def greet(front: str, address: str) -> None:
    click.secho(f"{front} at grpc://{address}; /help lists the commands, Ctrl-D leaves", dim=True)


def prompts() -> tuple[str, str]:
    """Return what stands before a message and before its further lines, for readline."""
    # readline counts columns: what the terminal does not show stands between \1 and \2
    return "\1\x1b[1m\2>\1\x1b[0m\2 ", ". "


def booting(boots: bool) -> AbstractContextManager[Any]:
    """Show on stderr that a server boots, if it does; nothing when stderr is no terminal."""
    if not boots or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status("booting Triton")
