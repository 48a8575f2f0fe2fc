"""`builder gateway` that cannot start says why."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

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


def test_other_hosts_without_keys_are_warned_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "whoever reaches 0.0.0.0 is answered" in run("--host", "0.0.0.0", "--port", port).stderr
        assert "is answered" not in run("--port", port).stderr


def test_keys_that_are_not_there(tmp_path: Path) -> None:
    done = run("--keys", str(tmp_path / "keys.db"))
    assert done.exit_code == 1
    assert "keys.db does not exist" in done.stderr and "builder keys create NAME --keys" in done.stderr
    assert not (tmp_path / "keys.db").exists()


def test_prices_that_are_none(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text("[smollm2]\nprompt = -1\n")
    done = run("--prices", str(prices))
    assert done.exit_code == 2
    assert "prices.toml: '-1' is out of range" in done.stderr


def test_prices_without_keys(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text("[smollm2]\nprompt = 1\n")
    done = run("--prices", str(prices))
    assert done.exit_code == 2
    assert "--keys is not given" in done.stderr and "leave --prices out" in done.stderr


def test_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("builder.gateway")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = run()
    assert done.exit_code == 2
    assert "uvicorn is not installed" in done.stderr and "builder[gateway]" in done.stderr
