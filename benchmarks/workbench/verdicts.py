"""What the embedded Triton says of a repository, model by model, without a boot for each."""

from __future__ import annotations

import http.client
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from builder.server import Options
from builder.servers.embedded import EmbeddedServer
from builder.serving import rest

SECONDS_TO_BOOT = 60
SECONDS_TO_LOAD = 30


@dataclass(frozen=True)
class Verdict:
    """Whether Triton loaded a model, and why not: its answer and what it logged."""

    loaded: bool
    reason: str


class Triton:
    """A Triton without models that loads the ones of each case, and forgets them again."""

    def __init__(self, folder: Path, arguments: tuple[str, ...] = ()) -> None:
        self._repository = folder / "repository"
        self._repository.mkdir(parents=True)
        self._arguments = arguments
        self._server: EmbeddedServer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def judge(self, case: Path) -> dict[str, Verdict]:
        """Return the verdict on each model of a case; a server that hangs or dies refused the model."""
        names = sorted(folder.name for folder in case.iterdir() if folder.is_dir())
        for name in names:
            shutil.copytree(case / name, self._repository / name)
        try:
            return {name: self._judged(name) for name in names}
        finally:
            self._forget(names)

    def _judged(self, name: str) -> Verdict:
        verdict = self._load(name)
        # what went before may have killed it: only a fresh server that dies too refuses this model
        return verdict if self._server is not None else self._load(name)

    def _load(self, name: str) -> Verdict:
        server = self._running()
        before = len(server.log())
        try:
            status, answer = rest.call(
                server.http, "POST", f"/v2/repository/models/{name}/load", body={}, timeout=SECONDS_TO_LOAD
            )
        except (OSError, http.client.HTTPException) as error:
            # it hangs, or it has aborted
            self._end()
            return Verdict(False, f"{error!r}\n{server.log()[before:]}")
        return Verdict(status == 200, f"{answer}\n{server.log()[before:]}")

    def _forget(self, names: list[str]) -> None:
        try:
            for name in names if self._server is not None else ():
                path = f"/v2/repository/models/{name}/unload"
                rest.call(self._server.http, "POST", path, body={}, timeout=SECONDS_TO_LOAD)
            self._wait_until_unloaded()
        except (OSError, http.client.HTTPException):
            self._end()
        for name in names:
            shutil.rmtree(self._repository / name, ignore_errors=True)

    def _wait_until_unloaded(self) -> None:
        deadline = time.monotonic() + SECONDS_TO_LOAD
        while self._server is not None and time.monotonic() < deadline:
            index = rest.repository_index(self._server.http)
            if not any(one.get("state") in ("READY", "UNLOADING", "LOADING") for one in index):
                return
            time.sleep(0.01)

    def _running(self) -> EmbeddedServer:
        if self._server is not None and self._server.alive():
            return self._server
        self._end()
        arguments = ("--model-control-mode=explicit", "--strict-readiness=false", *self._arguments)
        server = EmbeddedServer(self._repository, Options(exit_timeout=2, arguments=arguments))
        server.start()
        deadline = time.monotonic() + SECONDS_TO_BOOT
        while time.monotonic() < deadline and server.alive():
            if rest.is_live(server.http, timeout=1):
                self._server = server
                return server
            time.sleep(0.05)
        log = server.log()
        server.kill()
        raise AssertionError(f"Triton did not come up:\n{log[-2000:]}")

    def _end(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server = None
