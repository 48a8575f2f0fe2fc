"""Runs the application in one process or several, until SIGTERM or Ctrl-C, and says when it answers."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from builder.errors import ServeError
from builder.gateway import app
from builder.gateway.clients import Bounds
from builder.gateway.door import Settings
from builder.gateway.listening import Listener
from builder.gateway.protocol.metering import FOLDER
from builder.gateway.tls import Tls

BACKLOG = 2048
_ENDING = (signal.SIGTERM, signal.SIGINT)


class Worker(uvicorn.Server):
    """A server that ends at SIGTERM or Ctrl-C like any other function: uvicorn's raises the signal again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Hear signals until the end of the block; the second one cuts streams off."""
        before = {number: signal.signal(number, self.handle_exit) for number in _ENDING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(
    settings: Settings,
    *,
    host: str,
    port: int,
    workers: int,
    exit_timeout: int,
    clients: Bounds,
    tls: Tls | None,
    ready: Callable[[str], None],
) -> None:
    """Serve until a signal; streams then have `exit_timeout` seconds to finish.

    Args:
        port: 0 takes a free one.
        clients: what each may take before its request is there.
        ready: is told the URL as soon as a request is answered.

    Raises ServeError where the address cannot be had.
    """
    listening = _bind(host, port)
    config = uvicorn.Config(
        partial(app.create, settings),
        factory=True,
        loop="uvloop",
        http=partial(Listener, bounds=clients.within_files()),  # type: ignore[arg-type]
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        workers=workers,
        backlog=BACKLOG,
        timeout_graceful_shutdown=exit_timeout,
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key or None if tls else None,
    )
    address = f"{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    url = f"{'https' if tls else 'http'}://{address}"
    server = Worker(config)
    threading.Thread(target=_tell, args=(url, ready), daemon=True).start()
    try:
        if workers == 1:
            server.run(sockets=[listening])
        else:
            with tempfile.TemporaryDirectory() as folder:
                # read by each worker when it begins: it is a new interpreter
                os.environ[FOLDER] = folder
                Multiprocess(config, sockets=[listening]).run()
    finally:
        listening.close()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise ServeError(
            f"{host}:{port} cannot be listened on: {error}", remedy="choose another --port or --host"
        ) from error


def _tell(url: str, ready: Callable[[str], None]) -> None:
    """Wait until /health answers, whatever it says, and tell."""
    asked: Any = f"{url}/health"
    for wild, own in (("0.0.0.0", "127.0.0.1"), ("[::]", "[::1]")):
        asked = asked.replace(f"//{wild}:", f"//{own}:")
    # it is ourselves that are asked, by an address that the certificate need not name
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting))
    opener = urllib.request.build_opener(*handlers)
    while True:
        try:
            opener.open(asked, timeout=5).close()
        except urllib.error.HTTPError:
            break
        except OSError:
            time.sleep(0.05)
            continue
        break
    ready(url)
