"""A program at a terminal of its own: keys go in, what a person would see comes out."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

CONTROL_C, CONTROL_D = "\x03", "\x04"
SECONDS = 90.0
_STYLE = re.compile(r"\x1b\[[?0-9;]*[a-zA-Z]|\r")


class Terminal:
    """Starts `command` as the leader of a session whose terminal is ours to type on."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.raw = ""
        self._read = 0
        self._heard = False
        self._code: int | None = None
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.execvpe(command[0], command, {**environment, "TERM": "xterm"})

    @property
    def seen(self) -> str:
        """Return all that was printed, without its styles."""
        return _STYLE.sub("", self.raw)

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def expect(self, text: str) -> str:
        """Wait until `text` is printed after what was expected before; return what came before it."""
        deadline = time.monotonic() + SECONDS
        while text not in self.seen[self._read :]:
            assert time.monotonic() < deadline, f"no {text!r} in\n{self.seen}"
            assert self._listen(), f"ended without {text!r}:\n{self.seen}"
        before, _, _ = self.seen[self._read :].partition(text)
        self._read += len(before) + len(text)
        return before

    def end(self) -> int:
        """Wait for the end and return the exit code, negative for a signal."""
        deadline = time.monotonic() + SECONDS
        while self._listen():
            assert time.monotonic() < deadline, f"it does not end:\n{self.seen}"
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self._code

    def press_until(self, key: str, text: str) -> None:
        """Press a key until `text` is printed; see press_until_end."""
        self.type(key)
        deadline = time.monotonic() + SECONDS
        while text not in self.seen[self._read :] and time.monotonic() < deadline:
            assert self._listen(patience=2.0), f"ended without {text!r}:\n{self.seen}"
            if not self._heard:
                self.type(key)
        self.expect(text)

    def press_until_end(self, key: str) -> int:
        """Press a key until the program has ended, and return its exit code.

        Python does not hear a Ctrl-C that comes while `input` shows its prompt or takes in a key, until the
        next key.
        """
        self.type(key)
        while self._listen(patience=2.0):
            if not self._heard:
                self.type(key)
        return self.end()

    def _listen(self, patience: float = 0.2) -> bool:
        """Read what comes within some seconds; return False once the program has closed its terminal."""
        self._heard = bool(select.select([self._terminal], [], [], patience)[0])
        if not self._heard:
            return True
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # how Linux says that the other side is closed
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._code is None:
            # not SIGKILL, which would leave a server that the program has booted
            os.kill(self._pid, signal.SIGTERM)
            os.waitpid(self._pid, 0)
        os.close(self._terminal)
