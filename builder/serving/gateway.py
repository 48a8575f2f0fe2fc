"""A gateway beside the server that `builder serve` has booted: a process of its own that ends with ours."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO

from builder import signals
from builder.errors import ServeError, UsageError
from builder.serving import ports
from builder.serving.guard import Guard

_NEEDED = ("fastapi", "uvicorn", "uvloop", "httptools", "h2", "orjson", "prometheus_client")
_READY = re.compile(r"READY  http://(\S+) ")
# Seconds beyond the gateway's own exit timeout.
_PATIENCE = 5


class GatewayProcess:
    """`builder gateway` as a child; what it has to say beside READY goes to our stderr.

    Args:
        port: on loopback; 0 takes a free one.
        exit_timeout: seconds for streams to finish at the end.
    """

    def __init__(self, port: int, exit_timeout: int) -> None:
        self._port = port
        self._exit_timeout = exit_timeout
        self._process: subprocess.Popen[str] | None = None
        self._guard: Guard | None = None
        self.address = ""

    def require(self) -> None:
        """See that it could start, before minutes go into the boot of a server.

        Raises:
            UsageError: its packages are not installed.
            ServeError: its port is taken.
        """
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise UsageError(
                f"{', '.join(missing)} is not installed, which --openai needs",
                remedy='pip install "builder[gateway]"',
            )
        if self._port and not ports.is_free(self._port):
            raise ServeError(
                f"port {self._port} on 127.0.0.1, asked for --openai, is in use",
                expected="a free port",
                remedy="pass another one, such as --openai 8081, or --openai 0 to have a free one chosen",
            )

    def start(self, grpc: str, ready: Callable[[], None]) -> None:
        """Start it in front of a server's "HOST:PORT" and return at once.

        Once it answers `address` is known, and `ready` is called, by another thread.
        """
        words = ["--triton", f"grpc://{grpc}", "--port", str(self._port)]
        words += ["--exit-timeout", str(self._exit_timeout)]
        with signals.held():
            # A session of its own: Ctrl-C reaches our process first, which then ends this one before Triton.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "builder", "gateway", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            self._guard = Guard(self._process.pid)
        threading.Thread(target=self._hear, args=(self._process.stdout, ready), daemon=True).start()

    def exit_code(self) -> int | None:
        """Return how it ended (negative: by which signal), None while it runs or has not begun."""
        return None if self._process is None else self._process.poll()

    def alive(self) -> bool:
        """Say whether it still runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Let streams finish within the exit timeout, then end it; a second call does nothing."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(self._exit_timeout + _PATIENCE)
            except subprocess.TimeoutExpired:
                pass  # what is left is killed next
        self.kill()

    def kill(self) -> None:
        """End it at once; may be called from a signal handler while `stop` waits."""
        # Taken at once: an ended process's id may be another program's.
        guard, self._guard = self._guard, None
        if guard is None or self._process is None:
            return
        guard.dismiss()
        try:
            # its workers are in its group
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()

    def _hear(self, told: IO[str], ready: Callable[[], None]) -> None:
        with told:
            for line in told:
                if read := _READY.match(line):
                    self.address = read[1]
                    ready()
