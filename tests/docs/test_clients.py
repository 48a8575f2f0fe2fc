"""The client files of docs/clients are on their page word for word, and each does what the page says."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import doc_pages
import pytest
from doc_pages import ROOT

sys.path.insert(0, str(ROOT / "tests" / "chat"))

import echoing_repository
from echoing_repository import ENDLESS, OFFENCE

from builder.serve import boot as boot_server
from builder.server import Server
from builder.triton_client import Client

PAGE = ROOT / "docs" / "clients.md"
FILES = sorted((ROOT / "docs" / "clients").iterdir())
QUESTION = "What is the capital of France?"
STORY = "Tell me a long story."
PROGRAMS = {".py": sys.executable, ".sh": "bash", ".mjs": "node"}
STEP_SECONDS = 0.01
Start = Callable[..., "subprocess.Popen[bytes]"]

by_name = pytest.mark.parametrize("name", [path.name for path in FILES])
takes_a_question = pytest.mark.parametrize("name", ["stream.py", "generate.sh", "stream.mjs"])


def echo(question: str) -> str:
    return f"user\n{question}\nassistant\n"


def test_page_holds_the_files_word_for_word() -> None:
    shown = {block.file: block.text for block in doc_pages.blocks(PAGE) if block.file}
    assert shown == {path.name: path.read_text(encoding="utf-8") for path in FILES}


@by_name
def test_page_shows_what_it_prints(name: str) -> None:
    commands = [command for command in doc_pages.commands(PAGE) if name in command.line.split()]
    assert commands and all(command.shown for command in commands)


@pytest.fixture(scope="module")
def server(boot: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.mktemp("echoing") / "repository"
    return boot(echoing_repository.write(folder, step_seconds=STEP_SECONDS))


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start a file as a user would, after writing the server's address and the model's name into it."""

    def run(name: str, server: Server, *words: str, **replaced: str) -> subprocess.Popen[bytes]:
        file = ROOT / "docs" / "clients" / name
        program = shutil.which(PROGRAMS[file.suffix])
        if program is None or (file.suffix == ".sh" and not (shutil.which("curl") and shutil.which("jq"))):
            pytest.skip(f"{name} needs {PROGRAMS[file.suffix]}{', curl and jq' * (file.suffix == '.sh')}")
        text = file.read_text(encoding="utf-8")
        for written, real in {
            "127.0.0.1:8000": server.http,
            "127.0.0.1:8001": server.grpc,
            "smollm2": echoing_repository.NAME,
            **replaced,
        }.items():
            text = text.replace(written, real)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return subprocess.Popen(
            [program, name, *words],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    return run


def end(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """Wait for the end; return exit code, output and complaints."""
    output, complaints = process.communicate(timeout=120)
    return process.returncode, output.decode(), complaints.decode()


def cancelled(server: Server) -> float:
    samples = Client(server.http, server.grpc, server.metrics, {}).metrics()
    return sum(value for (family, _), value in samples.items() if family == "builder_engine_cancelled_total")


@pytest.mark.triton
@takes_a_question
def test_prints_the_answer(name: str, server: Server, start: Start) -> None:
    times = 2 if name == "generate.sh" else 1
    for words, question in (((), QUESTION), (('Say "日本語"\nand a \\ too',), 'Say "日本語"\nand a \\ too')):
        code, output, complaints = end(start(name, server, *words))
        assert (code, complaints) == (0, "")
        assert output == f"{echo(question)}\n" * times


@pytest.mark.triton
def test_side_by_side_one_is_cancelled(server: Server, start: Start) -> None:
    before = cancelled(server)
    code, output, complaints = end(start("stream_async.py", server, **{STORY: f"Go on {ENDLESS}"}))
    assert (code, complaints) == (0, "")
    assert output == f"{echo(QUESTION)}\n(cancelled: no whole answer within 0.5 s)\n"
    assert Client(server.http, server.grpc, None, {}).until(lambda: cancelled(server) == before + 1, 30)


@pytest.mark.triton
@by_name
def test_errors_have_the_servers_text(name: str, server: Server, start: Start) -> None:
    code, output, complaints = end(start(name, server, **{QUESTION: f"you {OFFENCE}"}))
    assert (code, output.strip()) == (1, "")
    assert complaints.strip() == "error: this engine takes offence"


@pytest.mark.triton
@by_name
def test_a_model_that_is_not_there(name: str, server: Server, start: Start) -> None:
    code, output, complaints = end(start(name, server, **{echoing_repository.NAME: "nobody"}))
    assert (code, output.strip()) == (1, "")
    assert "Request for unknown model: 'nobody' is not found" in complaints
    assert "Traceback" not in complaints


@pytest.mark.triton
@by_name
def test_a_server_that_is_not_there(name: str, server: Server, start: Start) -> None:
    nowhere = {server.http: "127.0.0.1:9", server.grpc: "127.0.0.1:9"}
    code, output, complaints = end(start(name, server, **nowhere))
    assert code != 0 and output.strip() == ""
    assert complaints.strip() and "Traceback" not in complaints


@pytest.mark.triton
@takes_a_question
def test_control_c_cancels_on_the_server(name: str, server: Server, start: Start) -> None:
    before = cancelled(server)
    process = start(name, server, f"Go on {ENDLESS}")
    assert process.stdout is not None
    if name == "generate.sh":
        read_first(process)  # the whole answer, before the stream
    assert read_first(process)
    os.killpg(process.pid, signal.SIGINT)
    code, _, complaints = end(process)
    assert code in (130, -signal.SIGINT)
    assert "Traceback" not in complaints
    assert Client(server.http, server.grpc, None, {}).until(lambda: cancelled(server) == before + 1, 30)


@pytest.mark.triton
def test_a_server_that_goes_away(tmp_path: Path, start: Start) -> None:
    repository = echoing_repository.write(tmp_path / "repository", step_seconds=0.05)
    with boot_server(repository) as server:
        running = [start(name, server, f"Go on {ENDLESS}") for name in ("stream.py", "stream.mjs")]
        for process in running:
            assert read_first(process)
        server.kill()
        for process in running:
            code, _, complaints = end(process)
            assert code == 1
            assert "\nerror: " in complaints and "Traceback" not in complaints


def read_first(process: subprocess.Popen[bytes]) -> bytes:
    """Wait for the next piece of output."""
    assert process.stdout is not None
    return os.read(process.stdout.fileno(), 65536)
