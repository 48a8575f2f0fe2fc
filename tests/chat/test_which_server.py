"""Which server `builder chat` talks to, which front, and what becomes of the server."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import echoing_repository
import pytest
from chat_command import COMMAND, environment

from builder import serve

pytestmark = pytest.mark.triton


def test_a_repository_without_a_name_for_it(tmp_path: Path) -> None:
    repository = echoing_repository.write(tmp_path / "repository")
    command = [*COMMAND, "nobody", "--directory", str(repository), "--once", "x"]
    done = subprocess.run(command, capture_output=True, env=environment(), check=False, timeout=60)
    assert done.returncode == 2
    assert b"holds no model 'nobody' to chat with\n  expected: one of: scripted" in done.stderr


def test_own_server_lives_as_long_as_the_chat(tmp_path: Path) -> None:
    """Booted quietly, gone at the end; a signal that ends the program ends the server too."""
    repository = echoing_repository.write(tmp_path / "repository")
    (tmp_path / "temporary").mkdir()
    command = [*COMMAND, "--directory", str(repository)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(TMPDIR=str(tmp_path / "temporary")),
    ) as run:
        assert run.stdin is not None and run.stdout is not None and run.stderr is not None
        run.stdin.write(b"Hello\n")
        run.stdin.flush()
        assert run.stdout.readline() == b"user\n"
        assert len(list((tmp_path / "temporary").iterdir())) == 1
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == 128 + signal.SIGTERM
        assert b"ended by SIGTERM" in run.stderr.read()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_server_that_goes_away(tmp_path: Path) -> None:
    repository = echoing_repository.write(tmp_path / "repository", step_seconds=0.05)
    with serve.boot(repository) as server:
        command = [*COMMAND, "--url", f"http://{server.http}", "--grpc-url", server.grpc]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        ) as run:
            assert run.stdin is not None and run.stdout is not None and run.stderr is not None
            run.stdin.write(b"Go on for ever\nHello\n")
            run.stdin.flush()
            assert run.stdout.readline() == b"user\n"
            server.kill()
            assert run.wait(60) == 1
            said = run.stderr.read().decode()
    assert f"error: the server at grpc://{server.grpc} went away: " in said
    assert "to mend it: start it again" in said


def test_own_server_that_dies_leaves_its_log(tmp_path: Path) -> None:
    repository = echoing_repository.write(tmp_path / "repository", step_seconds=0.05)
    with subprocess.Popen(
        [*COMMAND, "--directory", str(repository), "--once", "Go on for ever"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(TMPDIR=str(tmp_path)),
    ) as run:
        assert run.stdout is not None and run.stderr is not None
        assert run.stdout.readline() == b"user\n"
        os.kill(triton_of(repository), signal.SIGKILL)
        assert run.wait(60) == 1
        said = run.stderr.read().decode()
    log = said.rpartition("Triton's log says why: ")[2].strip()
    assert "went away: " in said and Path(log).parent.parent == tmp_path
    assert Path(log).stat().st_size > 0


def triton_of(repository: Path) -> int:
    """Return the process that serves this folder."""
    option = f"--model-repository={repository}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if option in (process / "cmdline").read_bytes().split(b"\0"):
                return int(process.name)
        except OSError:  # it has ended meanwhile
            continue
    raise AssertionError(f"no server on {repository}")


def test_several_models_need_a_name(tmp_path: Path) -> None:
    repository = echoing_repository.write(tmp_path / "repository")
    second = repository / "second"
    second.mkdir()
    config = (repository / "scripted" / "config.pbtxt").read_text()
    (second / "config.pbtxt").write_text(config.replace('name: "scripted"', 'name: "second"'))
    (repository / "scripted" / "1").rename(second / "1")
    (repository / "scripted" / "1").mkdir()
    (repository / "scripted" / "1" / "manifest.json").write_text("{}")
    command = [*COMMAND, "--directory", str(repository), "--once", "x"]
    done = subprocess.run(command, capture_output=True, env=environment(), check=False, timeout=60)
    assert done.returncode == 2
    assert b"holds 2 models to chat with: scripted, second" in done.stderr
