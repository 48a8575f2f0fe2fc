"""The tritonserver inside PyPI's nvidia-pytriton: no Docker, loopback only (its CVEs are known).

Python models run in the packages of the interpreter that runs this program.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from builder import signals
from builder.errors import ServeError
from builder.rule import Host
from builder.server import Options, Server
from builder.serving import ports, pytriton
from builder.serving.guard import Guard

_SHARED_MEMORY = Path("/dev/shm")
_PARTS = ("triton_backends", "temporary")
_LINK = "repository"
# Seconds beyond Triton's own exit timeout, which it may overrun while it unloads models.
_PATIENCE = 5


def available() -> str | None:
    """Return why the embedded server cannot run here with the command that mends it, else None."""
    problem = pytriton.problem()
    return None if problem is None else f"{problem[0]}; {problem[1]}"


def host(options: Options) -> Host:
    """Return what a repository must fit to be served here."""
    has_gpu = Path("/dev/nvidiactl").exists()
    return Host(
        "24.10", None if has_gpu else 0, frozenset({"python", *pytriton.PYTHON_BASED}), completes=False
    )


def create(repository: Path | None, options: Options) -> EmbeddedServer:
    """Return the server for one repository folder; raise ServeError when it cannot run here."""
    problem = pytriton.problem()
    if problem is not None:
        raise ServeError(f"the embedded server cannot run here: {problem[0]}", remedy=problem[1])
    if repository is None:
        raise ServeError("the embedded server needs a model repository", remedy="name its folder")
    return EmbeddedServer(repository, options)


class EmbeddedServer(Server):
    """One tritonserver process, the leader of its own session, and the stubs that it starts."""

    def __init__(self, repository: Path, options: Options) -> None:
        self._repository = repository.resolve()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._guard: Guard | None = None
        self._log_path = options.log
        self._keeps_log = options.log is not None
        self._last_log = ""
        self.http = self.grpc = self.metrics = ""

    def start(self) -> None:
        http, grpc, metrics = ports.choose(self._options)
        self.http, self.grpc, self.metrics = (f"127.0.0.1:{port}" for port in (http, grpc, metrics))
        usual = tempfile.gettempdir()
        self._folder = Path(
            tempfile.mkdtemp(prefix="builder-triton-", dir=usual if _is_plain(usual) else "/tmp")
        )
        self._log_path = self._log_path or self._folder / "triton.log"
        temporary = self._folder / "temporary"
        temporary.mkdir()
        command = self._command(self._folder, http, grpc, metrics)
        with self._log_path.open("wb") as log, signals.held():
            # A session of its own: Ctrl-C reaches our process first, which then stops this one gracefully.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=pytriton.environment_of_stub(temporary),
                # The stub has it first on sys.path: no package of ours may lie there.
                cwd=temporary,
                start_new_session=True,
            )
            self._guard = Guard(
                self._process.pid,
                _SHARED_MEMORY / _region_prefix(self._folder),
                *(self._folder / part for part in _PARTS),
            )

    def stop(self) -> None:
        try:
            if self._process is not None:
                self._ask_to_end(self._process)
        finally:
            self._end_all()

    def kill(self) -> None:
        self._end_all()

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

    @property
    def pid(self) -> int | None:
        """Return the process id of tritonserver, which is also its group's; None before the start."""
        return None if self._process is None else self._process.pid

    def _command(self, folder: Path, http: int, grpc: int, metrics: int) -> list[str]:
        triton = pytriton.triton_folder()
        addresses = []
        for name, port in (("http", http), ("grpc", grpc), ("metrics", metrics)):
            addresses += [f"--{name}-address=127.0.0.1", f"--{name}-port={port}"]
        return [
            str(triton / "bin" / "tritonserver"),
            f"--model-repository={_plainly(self._repository, folder)}",
            f"--backend-directory={pytriton.link_backends(folder)}",
            f"--cache-directory={triton / 'caches'}",
            *addresses,
            "--disable-auto-complete-config",
            f"--model-load-thread-count={max(4, os.cpu_count() or 1)}",
            # Triton stays up with what it could load, so that its index names every failure at once.
            "--exit-on-error=false",
            f"--exit-timeout-secs={self._options.exit_timeout}",
            "--log-format=default",
            f"--backend-config=python,shm-region-prefix-name={_region_prefix(folder)}",
            *self._options.triton_arguments,
        ]

    def _ask_to_end(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(self._options.exit_timeout + _PATIENCE)
        except subprocess.TimeoutExpired:
            pass  # what is left is killed next

    def _end_all(self) -> None:
        # Taken at once: `kill` may interrupt `stop`, and an ended process's id may be another program's.
        folder, self._folder = self._folder, None
        if folder is None:
            return
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.dismiss()
        if self._process is not None:
            # The stubs are in its process group; whatever is left of it now serves nobody.
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._process.wait()
        self._clean(folder)

    def _clean(self, folder: Path) -> None:
        for region in _SHARED_MEMORY.glob(f"{_region_prefix(folder)}*"):
            region.unlink(missing_ok=True)
        self._last_log = self.log()
        inside = self._log_path is not None and self._log_path.parent == folder
        if inside and self._keeps_log:
            (folder / _LINK).unlink(missing_ok=True)
            for part in _PARTS:
                shutil.rmtree(folder / part, ignore_errors=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _region_prefix(folder: Path) -> str:
    """Name our shared memory so that no other server's regions are ever taken for ours."""
    return f"triton_{folder.name.replace('-', '_')}_"


def _is_plain(path: str) -> bool:
    return shlex.quote(path) == path


def _plainly(repository: Path, folder: Path) -> Path:
    """Return the repository by a path that a shell takes as it is, which may be a link in `folder`.

    Triton's Python backend starts its stubs by a line of the shell and quotes no path in it: at a space the
    stub aborts, and Triton waits for it for ever.
    """
    if _is_plain(str(repository)):
        return repository
    link = folder / _LINK
    link.symlink_to(repository, target_is_directory=True)
    return link
