"""What the pages show is what happens: every console block is run, and its shown lines must come out."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import doc_pages
import pytest
from doc_pages import ROOT, Command

from builder.serving import ports

FAST = ("plan", "list", "doctor", "--help", "--version")
WRITTEN = (8000, 8001, 8002, 8080)
BOOT_SECONDS = 120


def is_fast(command: Command) -> bool:
    words = shlex.split(command.line)
    return words[0] == "builder" and (words[1] in FAST or "--list" in words or "--help" in words)


def environment() -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # a reader of the pages has set nothing
    own = {name: value for name, value in os.environ.items() if name != "BUILDER_LOCK"}
    return {**own, "PYTHONPATH": os.pathsep.join(paths)}


def write_files(page: Path, folder: Path) -> None:
    for block in doc_pages.blocks(page):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")


def run(words: list[str], folder: Path) -> tuple[int, str]:
    """Run one command of a page; return its exit code and all that it printed."""
    if words[0] == "curl" and shutil.which("curl") is None:
        return 0, fetched(words)
    program = {
        "builder": [sys.executable, "-m", "builder"],
        "python": [sys.executable],
        "curl": ["curl"],
        "bash": ["bash"],
        "node": ["node"],
    }
    assert words[0] in program, f"the pages may show {', '.join(program)}, not {words[0]}"
    if shutil.which(program[words[0]][0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    done = subprocess.run(
        [*program[words[0]], *words[1:]],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1500,
    )
    return done.returncode, done.stdout


def fetched(words: list[str]) -> str:
    """Do what `curl -sN URL -d BODY` does where there is no curl."""
    url = next(word for word in words if word.startswith("http://"))
    body = words[words.index("-d") + 1].encode() if "-d" in words else None
    headers = dict([words[words.index("-H") + 1].split(": ", 1)]) if "-H" in words else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()


def require(command: Command, code: int, output: str) -> None:
    absent = doc_pages.missing(command, output)
    assert not absent, f"{command.page}: $ {command.line}\nnot in the output: {absent}\n{output}"
    refused = any(line.startswith("error:") for line in command.shown)
    assert (code != 0) == refused, f"{command.page}: $ {command.line} ended with {code}\n{output}"


@pytest.mark.parametrize(
    ("page", "command"),
    [
        pytest.param(page, command, id=f"{page.stem}: {command.line}")
        for page in doc_pages.pages()
        for command in doc_pages.commands(page)
        if is_fast(command)
    ],
)
def test_fast_command(page: Path, command: Command, tmp_path: Path) -> None:
    write_files(page, tmp_path)
    require(command, *run(shlex.split(command.line), tmp_path))


class Journey:
    """A newcomer in an empty folder who types what the pages show; the server runs until a page ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._ports = four_in_a_row()

    def real(self, text: str) -> str:
        for written, port in zip(WRITTEN, self._ports, strict=True):
            text = text.replace(f"127.0.0.1:{written}", f"127.0.0.1:{port}")
        return text

    def written(self, text: str) -> str:
        for written, port in zip(WRITTEN, self._ports, strict=True):
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{written}")
        return text

    def read(self, page: Path) -> None:
        for block in doc_pages.blocks(page):
            if block.file:
                (self.folder / block.file).write_text(self.real(block.text), encoding="utf-8")
        for command in doc_pages.commands(page):
            if not is_fast(command):
                self.type(command)
        self.end("gateway")
        self.end("serve")

    def type(self, command: Command) -> None:
        words = shlex.split(self.real(command.line))
        if words[:2] == ["builder", "serve"]:
            names = ("--http-port", "--grpc-port", "--metrics-port")
            ports = [word for pair in zip(names, map(str, self._ports), strict=False) for word in pair]
            if "--openai" in words:
                words.insert(words.index("--openai") + 1, str(self._ports[3]))
            code, output = 0, self.start("serve", [*words[2:], *ports, "--exit-timeout", "5"])
        elif words[:2] == ["builder", "gateway"]:
            ports = ["--triton", f"grpc://127.0.0.1:{self._ports[1]}", "--port", str(self._ports[3])]
            code, output = 0, self.start("gateway", [*words[2:], *ports])
        else:
            code, output = run(words, self.folder)
        require(command, code, self.written(output))

    def start(self, name: str, words: list[str]) -> str:
        """Start `builder NAME`, which runs until a page ends; return what it printed until READY."""
        self.end(name)
        log_path = self.folder / f"{name}.log"
        with log_path.open("w") as log:
            process = self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "builder", name, *words],
                cwd=self.folder,
                env=environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        deadline = time.monotonic() + BOOT_SECONDS
        while "READY" not in log_path.read_text() and time.monotonic() < deadline:
            assert process.poll() is None, log_path.read_text()
            time.sleep(0.1)
        return log_path.read_text()

    def end(self, name: str) -> None:
        process = self._running.pop(name, None)
        if process is not None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def four_in_a_row() -> tuple[int, int, int, int]:
    base = next(
        port for port in range(21000, 31000, 4) if all(ports.is_free(port + step) for step in range(4))
    )
    return base, base + 1, base + 2, base + 3


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    made = Journey(tmp_path)
    yield made
    made.end("gateway")
    made.end("serve")


@pytest.mark.slow
@pytest.mark.triton
@pytest.mark.timeout(1800)
def test_journey_through_the_pages(journey: Journey) -> None:
    """From README to the last page in one folder: build, serve, ask and verify the real smollm2."""
    for page in doc_pages.pages():
        journey.read(page)
    golden = journey.folder / "model_repository" / "smollm2" / "1" / "golden.json"
    assert json.loads(golden.read_text(encoding="utf-8"))["prompts"]


def test_shown_lines_are_compared() -> None:
    command = Command("a.md", "x", ("one ... three", "", "...", " four   five"))
    assert doc_pages.missing(command, "one two three\nfour five\n") == []
    assert doc_pages.missing(command, "one two\nfour five six") == ["one ... three", " four   five"]
