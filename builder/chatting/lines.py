"""Where messages come from: lines typed at a prompt, or piped in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from builder.errors import UsageError

FENCE = '"""'
"""Around a message of several lines."""


def messages(read: Callable[[bool], str | None]) -> Iterator[str]:
    """Yield each message; a line that begins with the fence goes on until one that ends with it.

    Args:
        read: returns the next line, None at the end; called with whether a message goes on.
    """
    while (line := read(False)) is not None:
        if line.startswith(FENCE):
            parts = [line.removeprefix(FENCE)]
            while not parts[-1].endswith(FENCE) and (more := read(True)) is not None:
                parts.append(more)
            line = "\n".join(parts).removesuffix(FENCE)
        if line.strip():
            yield line.strip()


def typed(prompt: str, continued: str) -> Iterator[str]:
    """Yield messages typed at a terminal, with line editing, until Ctrl-D, or Ctrl-C on an empty line."""
    try:
        import readline  # its import alone gives `input` its line editing
    except ImportError:  # Python built without it
        buffer: Callable[[], str] = str
    else:
        buffer = readline.get_line_buffer

    def read(continues: bool) -> str | None:
        while True:
            try:
                return input(continued if continues else prompt)
            except EOFError:
                return None
            except KeyboardInterrupt:
                sys.stdout.write("\n")
                if not continues and not buffer():
                    return None
            except UnicodeDecodeError:
                sys.stdout.write("that was not UTF-8 text\n")

    return messages(read)


def is_terminal() -> bool:
    """Return whether somebody types and reads; raise UsageError when standard input is closed."""
    _require_input()
    return sys.stdin.isatty() and sys.stdout.isatty()


def _require_input() -> None:
    if sys.stdin is None:
        raise UsageError("standard input is closed", remedy="say it with --once TEXT, or pipe it in")


def piped() -> Iterator[str]:
    """Yield messages of standard input until its end."""

    def read(_: bool) -> str | None:
        # not by iteration, which would wait for a buffer full of lines
        line = sys.stdin.buffer.readline()
        return text(line).rstrip("\r\n") if line else None

    return messages(read)


def whole() -> str:
    """Return all of standard input as one message; raise UsageError when it is empty or closed."""
    _require_input()
    said = text(sys.stdin.buffer.read()).strip()
    if not said:
        raise UsageError("standard input is empty", expected="the message, with --once -")
    return said


def text(data: bytes) -> str:
    """Decode what was piped in; raise UsageError when it is no UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not UTF-8 text: {error}") from error
