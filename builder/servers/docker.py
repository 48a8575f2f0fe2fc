"""NVIDIA's container: the production server, its ports published on loopback only."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

from builder import capabilities, layout
from builder.contract import MODELS
from builder.deploying import engine_gpus, launching
from builder.deployment import ENVIRONMENT, PORTS
from builder.errors import ServeError
from builder.rule import Host
from builder.server import Options, Server
from builder.serving import ports

_INSTALL = "apt-get install docker.io, start its daemon, and let this user use it"
_ANSWER_TIMEOUT = 10
_PATIENCE = 15


def available() -> str | None:
    """Return why no container can be run here with the command that mends it, else None."""
    problem = _problem()
    return None if problem is None else f"{problem}; {_INSTALL}"


def create(repository: Path | None, options: Options) -> DockerServer:
    """Return the container for one repository folder; raise ServeError when it cannot run here."""
    if repository is None:
        raise ServeError("the docker server needs a model repository", remedy="name its folder")
    if not options.image:
        raise ServeError(
            "no image was named for the docker server",
            expected="a pinned tag, such as nvcr.io/nvidia/tritonserver:26.03-py3",
            remedy="pass --image, best the one built from the Dockerfile: Python models need its packages",
        )
    problem = _problem()
    if problem is not None:
        raise ServeError(f"the docker server cannot run here: {problem}", remedy=_INSTALL)
    return DockerServer(repository, options)


def host(options: Options) -> Host:
    """Return what a repository must fit to be served here: the release that the image's tag names."""
    release = re.search(r":(\d\d\.\d\d)\b", options.image)
    compute = capabilities.here() if options.gpus else ()
    if release is None:
        return Host(completes=False, compute=compute)
    return Host(release[1], completes=False, compute=compute)


def command(repository: Path, options: Options, *, name: str, published: tuple[int, int, int]) -> list[str]:
    """Return the `docker run` of one server; `published` are the ports for HTTP, gRPC and metrics."""
    server = launching.tritonserver(
        exit_timeout=options.exit_timeout, exit_on_error=False, arguments=options.triton_arguments
    )
    publish = []
    for outside, inside in zip(published, PORTS.values(), strict=True):
        publish += ["--publish", f"127.0.0.1:{outside}:{inside}"]
    return [
        "docker",
        "run",
        "--rm",
        "--name",
        name,
        *publish,
        "--mount",
        f"type=bind,source={repository.resolve()},target={MODELS},readonly",
        "--shm-size",
        options.shm_size,
        *(["--gpus", options.gpus] if options.gpus else []),
        *(word for name, value in ENVIRONMENT.items() for word in ("--env", f"{name}={value}")),
        options.image,
        *launching.command(server, engine_gpus.ranks(layout.read(repository))),
    ]


class DockerServer(Server):
    """One container, named by us, so that it can be ended by its name and nothing else."""

    def __init__(self, repository: Path, options: Options) -> None:
        self._repository = repository
        self._options = options
        self._name = f"builder-{secrets.token_hex(6)}"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_path = options.log
        self._keeps_log = options.log is not None
        self._last_log = ""
        self.http = self.grpc = self.metrics = ""

    def start(self) -> None:
        published = ports.choose(self._options)
        self.http, self.grpc, self.metrics = (f"127.0.0.1:{port}" for port in published)
        if self._log_path is None:
            self._log_path = Path(tempfile.mkdtemp(prefix="builder-triton-")) / "triton.log"
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command(self._repository, self._options, name=self._name, published=published),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> None:
        self._end(["docker", "stop", "--time", str(self._options.exit_timeout + 5), self._name])

    def kill(self) -> None:
        self._end(["docker", "kill", self._name])

    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def log(self) -> str:
        if self._log_path is not None and self._log_path.is_file():
            return self._log_path.read_text(errors="replace")
        return self._last_log

    def log_path(self) -> Path | None:
        return self._log_path

    def keep_log(self) -> None:
        self._keeps_log = True

    def _end(self, order: list[str]) -> None:
        if self._process is not None and self._process.poll() is None:
            subprocess.run(order, capture_output=True, check=False)
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                # The client outlived its container, or the container does not exist yet.
                subprocess.run(["docker", "rm", "--force", self._name], capture_output=True, check=False)
                self._process.kill()
                self._process.wait()
        if self._log_path is not None and not self._keeps_log:
            self._last_log = self.log()
            shutil.rmtree(self._log_path.parent, ignore_errors=True)


def _problem() -> str | None:
    if shutil.which("docker") is None:
        return "there is no docker command"
    try:
        answer = subprocess.run(
            ["docker", "info", "--format", "{{.ServerVersion}}"],
            capture_output=True,
            text=True,
            timeout=_ANSWER_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"docker's engine does not answer within {_ANSWER_TIMEOUT} s"
    if answer.returncode == 0 and answer.stdout.strip():
        return None
    return f"docker's engine does not answer: {answer.stderr.strip() or answer.stdout.strip()}"
