"""vLLM's own server, `vllm serve` of 0.22, told what the repository tells its engine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from workbench import children, memory

from llm.models import Built
from llm.stage import Stage

SECONDS_TO_START = 300.0
SECONDS_TO_END = 30.0


@dataclass(frozen=True)
class Variant:
    """A way to run it: options and variables beside what all have."""

    name: str
    options: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


VARIANTS = {
    one.name: one
    for one in (
        Variant("vllm_serve"),
        # API servers in processes of their own: https://docs.vllm.ai/en/latest/configuration/optimization.html
        Variant("vllm_serve_wide", ("--api-server-count", "4")),
        # its experimental front in Rust: https://github.com/vllm-project/vllm/issues/44280
        Variant("vllm_serve_rust", (), (("VLLM_USE_RUST_FRONTEND", "1"),)),
    )
}


def command(built: Built, port: int, variant: Variant) -> list[str]:
    """Return the command line of the server."""
    return [
        *(sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(built.artifact)),
        *("--tokenizer", str(built.tokenizer), "--served-model-name", built.model.name),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--disable-uvicorn-access-log", "--disable-log-stats", "--no-enable-log-requests"),
        *options(built.peers_arguments),
        *variant.options,
    ]


def options(arguments: Mapping[str, Any]) -> list[str]:
    """Return fields of vllm.EngineArgs as options of the command line (vllm/engine/arg_utils.py)."""
    found = []
    for name, value in arguments.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{option}" if value else f"--no-{option}")
        else:
            text = json.dumps(value) if isinstance(value, dict | list) else str(value)
            found += [f"--{option}", text]
    return found


class Server:
    """A running server; all of its processes end with the block."""

    def __init__(self, stage: Stage, built: Built, variant: Variant) -> None:
        port = _free_port()
        self.name, self.url = variant.name, f"http://127.0.0.1:{port}"
        self._log = stage.log(f"{variant.name}-{built.model.name}")
        with self._log.open("wb") as words:
            self._process = subprocess.Popen(
                command(built, port, variant),
                stdout=words,
                stderr=words,
                env={**os.environ, **dict(variant.variables)},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self) -> None:
        """Return when it answers; raise SystemExit with its last words when it does not."""
        deadline = time.monotonic() + SECONDS_TO_START
        while not _is_healthy(self.url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                last = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
                raise SystemExit(f"{self.name} did not start:\n" + "\n".join(last))
            time.sleep(0.5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        members = memory.family(self.pid)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        children.kill(members)


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
