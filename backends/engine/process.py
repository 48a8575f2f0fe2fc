"""The process that hosts an engine (host.py), as its front sees it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from backends.engine import host, interpreter
from backends.engine.orders import Answer, Broken, Order

SECONDS_TO_END = 30.0
"""How long it may take to free the model before it is killed."""

_BUFFER_BYTES = 4 << 20


class Ended(Exception):
    """The process has ended, or is about to; the text says why."""


class EngineProcess:
    """Started by its making; `send` is safe from any thread, `receive` is for one."""

    def __init__(self, engine: str, folder: Path) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        with theirs:
            self._process = interpreter.start(host.__name__, engine, str(folder), connection=theirs)
        self._socket = ours
        self._connection = Connection(os.dup(ours.fileno()))
        self._sending = threading.Lock()

    def send(self, order: Order) -> None:
        """Say something; a process that has ended does not hear it, and `receive` tells of that."""
        try:
            with self._sending:
                self._connection.send(order)
        except OSError:
            pass

    def receive(self) -> Answer:
        """Wait for the next answer; raise Ended when there will be none."""
        try:
            answer: Answer = self._connection.recv()
        except (EOFError, OSError):
            raise Ended(self._last_words()) from None
        if isinstance(answer, Broken):
            self.end()
            raise Ended(answer.reason)
        return answer

    def end(self) -> None:
        """Let it free its model and wait until it has gone."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has hung up already
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _last_words(self) -> str:
        try:
            code = self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.end()
            return "the engine's process hung up"
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        return f"the engine's process ended with {how}; the server's log has its last words"
