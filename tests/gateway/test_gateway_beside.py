"""`builder serve --openai`: one command, Triton and a gateway, which end together."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import echoing_repository
import pytest
from click.testing import CliRunner, Result
from echoing_repository import ENDLESS, NAME
from gateway_process import ROOT, Gateway, error_of, events
from processes import alive, children, command_line, until

from builder.cli import main

CHAT = "/v1/chat/completions"
FOREVER = [{"role": "user", "content": f"Go on {ENDLESS}"}]
HELLO = [{"role": "user", "content": "hello"}]


@dataclass(frozen=True)
class Both:
    """A `builder serve --openai` that is READY: itself, and its two children."""

    process: subprocess.Popen[str]
    gateway: Gateway
    gateway_process: int
    triton_process: int

    def ended(self, code: int) -> str:
        """See that it ends with an exit code, and nothing outlives it; return what it said."""
        _, said = self.process.communicate(timeout=60)
        assert self.process.returncode == code, said
        until(lambda: not alive(self.gateway_process) and not alive(self.triton_process))
        return said


@contextmanager
def serving(repository: Path) -> Iterator[Both]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--openai", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "builder", "serve", str(repository), *ports, "--exit-timeout", "20"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        told = re.fullmatch(
            r"READY  http://\S+  grpc://\S+  metrics http://\S+  openai http://(\S+)/v1\n", line
        )
        assert told, (line, process.communicate(timeout=60))
        gateway, triton = (child(process.pid, word) for word in ("gateway", "tritonserver"))
        yield Both(process, Gateway(told[1], process), gateway, triton)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def child(process: int, word: str) -> int:
    """Return the only child whose command line has a word that ends so."""
    (found,) = [one for one in children(process) if any(each.endswith(word) for each in command_line(one))]
    return found


@pytest.mark.triton
@pytest.mark.parametrize(
    "terminal", [False, pytest.param(True, id="Ctrl-C at a terminal", marks=pytest.mark.slow)]
)
def test_streams_finish_before_both_end(tmp_path: Path, terminal: bool) -> None:
    repository = echoing_repository.write(tmp_path / "repository", step_seconds=0.02)
    with serving(repository) as both:
        assert [one["id"] for one in both.gateway.get("/v1/models")[1]["data"]] == [NAME]
        with both.gateway.streaming(CHAT, model=NAME, messages=FOREVER, max_tokens=60) as response:
            heard = events(response)
            assert next(heard)["choices"]
            if terminal:
                os.killpg(both.process.pid, signal.SIGINT)
            else:
                both.process.terminate()
            rest = list(heard)
        assert rest[-1] == "[DONE]"
        assert rest[-2]["choices"][0]["finish_reason"] == "length"
        (said,) = both.ended(0).splitlines()
        assert said.startswith("stopping: requests in flight have 20 s to finish")


@pytest.mark.triton
def test_a_gateway_that_dies_takes_triton_with_it(tmp_path: Path) -> None:
    with serving(echoing_repository.write(tmp_path / "repository")) as both:
        os.kill(both.gateway_process, signal.SIGKILL)
        said = both.ended(1)
    assert said == "the gateway ended by itself (exit code -9), and Triton is stopped with it\n"


@pytest.mark.triton
@pytest.mark.slow
def test_a_triton_that_dies_takes_the_gateway_with_it(tmp_path: Path) -> None:
    repository = echoing_repository.write(tmp_path / "repository", step_seconds=0.05)
    with serving(repository) as both:
        with both.gateway.streaming(CHAT, model=NAME, messages=FOREVER) as response:
            heard = events(response)
            assert next(heard)["choices"]
            os.kill(both.triton_process, signal.SIGABRT)
            *_, last = heard
        assert error_of(last)["code"] == "unavailable"
        assert "Triton ended by itself (exit code -6); its last words:" in both.ended(1)


@pytest.mark.triton
@pytest.mark.slow
def test_a_second_signal_ends_both_at_once(tmp_path: Path) -> None:
    repository = echoing_repository.write(tmp_path / "repository", step_seconds=0.2)
    with serving(repository) as both:
        with both.gateway.streaming(CHAT, model=NAME, messages=FOREVER) as response:
            assert next(events(response))["choices"]
            assert both.process.stderr is not None
            both.process.send_signal(signal.SIGINT)
            assert both.process.stderr.readline().startswith("stopping")
            both.process.send_signal(signal.SIGINT)
            said = both.ended(1)
        assert "the gateway did not end cleanly (exit code -9)" in said


@pytest.mark.triton
@pytest.mark.slow
def test_neither_outlives_a_command_that_is_killed(tmp_path: Path) -> None:
    with serving(echoing_repository.write(tmp_path / "repository")) as both:
        both.process.kill()
        both.ended(-signal.SIGKILL)


@pytest.mark.triton
@pytest.mark.slow
def test_keys_of_the_environment_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "keys.db"
    made = CliRunner().invoke(main, ["keys", "create", "somebody", "--keys", str(keys)])
    monkeypatch.setenv("BUILDER_KEYS", str(keys))
    with serving(echoing_repository.write(tmp_path / "repository")) as both:
        assert both.gateway.post(CHAT, model=NAME, messages=HELLO)[0] == 401
        header = {"Authorization": f"Bearer {made.stdout.splitlines()[0]}"}
        assert both.gateway.request("GET", "/v1/models", headers=header)[0] == 200


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["serve", *words])


def test_a_port_that_is_taken_is_told_before_the_boot(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(str(tmp_path / "nothing"), "--openai", str(taken.getsockname()[1]))
    assert done.exit_code == 1
    assert "asked for --openai, is in use" in done.stderr and "--openai 0" in done.stderr


def test_its_packages_are_looked_for_before_the_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "orjson", None)
    done = run(str(tmp_path / "nothing"), "--openai", "0")
    assert done.exit_code == 2
    assert "orjson is not installed" in done.stderr and "builder[gateway]" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--openai", "my_models"), "name a folder before the option: my_models --openai"),
        (("--openai", "65536"), "65536 is not in the range"),
        (("--openai", "8000"), "--openai 8000 is a port of Triton's"),
        (("--http-port", "8080", "--openai"), "--openai 8080 is a port of Triton's"),
    ],
)
def test_what_the_option_does_not_take(words: tuple[str, ...], said: str) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert said in done.stderr
