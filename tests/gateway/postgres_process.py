"""A PostgreSQL of its own for tests, where its programs are installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def programs() -> Path | None:
    """Return the folder with initdb and postgres."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    homes += [Path(found).resolve().parent] if found else []
    return next((home for home in homes if (home / "postgres").exists()), None)


def missing() -> str | None:
    """Return why none can run here."""
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed"
    if programs() is None:
        return "PostgreSQL is not installed: apt-get install postgresql"
    return None


@contextmanager
def running() -> Iterator[str]:
    """Run one on a free loopback port until the end of the block; gives its URL."""
    home = programs()
    assert home is not None
    # it refuses to be root, who must give the folder to somebody
    who: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        if who:
            shutil.chown(folder, "nobody")
        data = folder / "data"
        words = [home / "initdb", "--no-sync", "--auth=trust", "--username=tester", "--pgdata", data]
        subprocess.run(words, check=True, capture_output=True, cwd=folder, **who)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        words = [
            home / "postgres",
            "-D",
            data,
            "-p",
            str(port),
            "-k",
            folder,
            "-c",
            "listen_addresses=127.0.0.1",
        ]
        process = subprocess.Popen(words, cwd=folder, stderr=subprocess.DEVNULL, **who)
        try:
            _wait(port, process)
            yield f"postgresql://tester@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    finally:
        shutil.rmtree(folder)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    import psycopg

    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None
        try:
            psycopg.connect(f"postgresql://tester@127.0.0.1:{port}/postgres").close()
            return
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
