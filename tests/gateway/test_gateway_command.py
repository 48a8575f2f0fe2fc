"""`builder gateway` that cannot start says why."""

from __future__ import annotations

import socket
import sys

import pytest
from click.testing import CliRunner, Result

from builder.cli import main


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["gateway", *words])


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8001", "127.0.0.1", "grpc://127.0.0.1:port", "grpc://:8001"]
)
def test_an_address_of_triton_that_is_none(url: str) -> None:
    done = run("--triton", url)
    assert done.exit_code == 2
    assert f"--triton is {url!r}" in done.stderr and "grpc://HOST:PORT" in done.stderr


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("--port", str(taken.getsockname()[1]))
    assert done.exit_code == 1
    assert "cannot be listened on" in done.stderr and "--port" in done.stderr


def test_a_host_that_is_not_this_machine() -> None:
    done = run("--host", "nowhere.invalid", "--port", "0")
    assert done.exit_code == 1
    assert "nowhere.invalid:0 cannot be listened on" in done.stderr


def test_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("builder.gateway")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = run()
    assert done.exit_code == 2
    assert "uvicorn is not installed" in done.stderr and "builder[gateway]" in done.stderr
