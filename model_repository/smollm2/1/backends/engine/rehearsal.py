"""Guides are compiled by another process first: what takes for ever there, or ends it, is refused here.

`python -m backends.engine.rehearsal TOKENIZER SOCKET`. Compiling cannot be stopped from outside, and a
library that runs out of stack or memory takes its process along: a server must outlive what a client sends.
"""

from __future__ import annotations

import os
import queue
import resource
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from backends.engine import interpreter
from backends.engine.grammars import STACK_BYTES, Compiler, refused
from backends.engine.protocol import EngineError, Guide, InvalidRequest

SECONDS = 5.0
"""That a guide may take; those of most schemas take a thousandth of one."""

SECONDS_TO_START = 60.0
"""That importing the library and reading the vocabulary may take; it is half a second as a rule."""

MEMORY_BYTES = 4 << 30
"""Of addresses, of which the stack has an eighth."""


class Rehearsal:
    """Compiles guides elsewhere; for one thread only. The process starts with the first guide."""

    def __init__(self, tokenizer: Path) -> None:
        self._tokenizer = tokenizer
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def require(self, guide: Guide) -> None:
        """Raise InvalidRequest for a guide that cannot be compiled, at once or at all."""
        connection = self._connection or self._started()
        try:
            connection.send(guide)
            if not connection.poll(SECONDS):
                self.close()
                raise refused(f"compiling it takes more than {SECONDS:g} seconds; make it smaller")
            reason: str | None = connection.recv()
        except (EOFError, OSError):
            self.close()
            raise refused("compiling it takes more memory than there is; make it smaller") from None
        if reason:
            raise InvalidRequest(reason)

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        self._connection = self._process = None

    def _started(self) -> Connection:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = interpreter.start(__name__, str(self._tokenizer), connection=theirs)
        self._connection = Connection(ours.detach())
        try:
            if self._connection.poll(SECONDS_TO_START):
                self._connection.recv()
                return self._connection
        except (EOFError, OSError):
            pass
        self.close()
        raise EngineError("what compiles guides did not start; the server's log has its last words")


def _answer(compiler: Compiler, asked: queue.SimpleQueue[Guide], connection: Connection) -> None:
    while True:
        connection.send(_reason(compiler, asked.get()))


def _reason(compiler: Compiler, guide: Guide) -> str | None:
    try:
        compiler.compile(guide)
    except InvalidRequest as error:
        return str(error)
    except BaseException as error:
        return str(refused(str(error) or type(error).__name__))
    return None


def main(tokenizer: Path, connection: Connection) -> None:
    """Compile what is asked for until nobody asks any more."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asked: queue.SimpleQueue[Guide] = queue.SimpleQueue()
    threading.stack_size(STACK_BYTES)
    compiler = Compiler(tokenizer)
    # the vocabulary is read here: what cannot be read ends this process, which the server hears at once
    connection.send(compiler.tokens)
    threading.Thread(target=_answer, args=(compiler, asked, connection), daemon=True).start()
    try:
        while True:
            asked.put(connection.recv())
    except (EOFError, OSError):
        # what is being compiled must not outlive the server
        os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Connection(int(sys.argv[2])))
