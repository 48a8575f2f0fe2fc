"""The container's very command and health check, on the embedded server: it has the same binary."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rendered import run, service, shell_line

from builder import deploy, server
from builder.contract import MODELS
from builder.deployment import PORTS, Options, deployment
from builder.serving import ports, pytriton, rest

pytestmark = pytest.mark.triton

BOOT_SECONDS = 120


@dataclass
class Container:
    """A service of a compose file, its command run here: the repository is mapped, ports are free ones."""

    service: dict[str, Any]
    process: subprocess.Popen[bytes]
    log: Path
    http: int

    def healthy(self) -> tuple[bool, str]:
        """Run the health check as the container would; return its verdict and what it said."""
        if shutil.which("curl") is None:
            pytest.skip("needs curl, as NVIDIA's image has it: apt-get install curl")
        inside = f"http://127.0.0.1:{PORTS['http']}/"
        line = shell_line(self.service)
        assert inside in line
        proxied = {**os.environ, "http_proxy": "http://127.0.0.1:9"}
        line = line.replace(inside, f"http://127.0.0.1:{self.http}/")
        done = run("sh", "-c", line, env=proxied, timeout=60)
        return done.returncode == 0, done.stdout

    def stubs(self, model: str) -> list[int]:
        """Return the ids of the processes that run a Python model."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    line = (folder / "cmdline").read_bytes().decode(errors="replace")
                    parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if parent == self.process.pid and f"/{model}/1/model.py" in line:
                    found.append(int(folder.name))
        return found


def start(repository: Path, folder: Path) -> Container:
    text = deploy.compose(deployment(repository, Options()), folder)["compose.yaml"]
    found = service(text)
    (mount,) = found["volumes"]
    assert (folder / mount["source"]).resolve() == repository.resolve() and mount["target"] == MODELS
    chosen = ports.choose(server.Options())
    program, *arguments = found["command"]
    assert program == "tritonserver" and f"--model-repository={MODELS}" in arguments
    command = [
        str(pytriton.triton_folder() / "bin" / "tritonserver"),
        *(word.replace(f"={MODELS}", f"={repository}") for word in arguments),
        f"--backend-directory={pytriton.link_backends(folder)}",
        f"--backend-config=python,shm-region-prefix-name=deploy_{os.getpid()}_{chosen[0]}_",
    ]
    for name, port in zip(PORTS, chosen, strict=True):
        command += [f"--{name}-address=127.0.0.1", f"--{name}-port={port}"]
    temporary = folder / "temporary"
    temporary.mkdir()
    environment = {**pytriton.environment_of_stub(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    log = folder / "triton.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=environment, cwd=temporary, start_new_session=True
        )
    return Container(found, process, log, chosen[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "deploy"
    made.mkdir()
    return made


@pytest.fixture
def container(scripted: Path, folder: Path) -> Iterator[Container]:
    started = start(scripted, folder)
    try:
        deadline = time.monotonic() + BOOT_SECONDS
        while not rest.is_live(f"127.0.0.1:{started.http}"):
            assert started.process.poll() is None and time.monotonic() < deadline, started.log.read_text()
            time.sleep(0.1)
        yield started
    finally:
        end(started)


def end(container: Container) -> None:
    try:
        os.killpg(container.process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    container.process.wait()
    for region in Path("/dev/shm").glob(f"deploy_{os.getpid()}_{container.http}_*"):
        region.unlink(missing_ok=True)


def test_health_check_fails_when_the_front_does_not_answer(container: Container) -> None:
    healthy, said = container.healthy()
    assert healthy, said
    assert '"text_output"' in said
    (stub,) = container.stubs("scripted")
    os.kill(stub, signal.SIGKILL)
    deadline = time.monotonic() + BOOT_SECONDS
    while container.stubs("scripted") and time.monotonic() < deadline:
        time.sleep(0.1)
    # Triton 2.51 calls itself and the model ready all the same
    assert rest.call(f"127.0.0.1:{container.http}", "GET", "/v2/health/ready")[0] == 200
    assert rest.call(f"127.0.0.1:{container.http}", "GET", "/v2/models/scripted/ready")[0] == 200
    healthy, said = container.healthy()
    assert not healthy, said
    container.process.kill()
    container.process.wait()
    assert not container.healthy()[0]


def test_health_check_fails_while_the_front_hangs(container: Container) -> None:
    (stub,) = container.stubs("scripted")
    os.kill(stub, signal.SIGSTOP)
    try:
        healthy, said = container.healthy()
        assert not healthy
        assert "is not healthy" in said or "timed out" in said
    finally:
        os.kill(stub, signal.SIGCONT)


def test_it_stops_well_within_its_grace_period(container: Container) -> None:
    assert container.healthy()[0]
    grace = int(container.service["stop_grace_period"].removesuffix("s"))
    container.process.send_signal(signal.SIGTERM)
    assert container.process.wait(grace) == 0, container.log.read_text()


def test_it_ends_when_a_model_does_not_load(scripted: Path, folder: Path) -> None:
    """The restart policy takes over, instead of a server that stays up without its front."""
    (scripted / "scripted" / "1" / "settings.json").write_text("{}")
    started = start(scripted, folder)
    try:
        assert started.process.wait(BOOT_SECONDS) != 0
    finally:
        end(started)
