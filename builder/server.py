"""The seam behind which Triton runs: one small Protocol, one file of `servers/` per way to run it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True)
class Options:
    """What a server may be told; each file of `servers/` takes what concerns it.

    A port of 0 lets the server choose a free one. `exit_timeout` is the seconds that requests in
    flight get after SIGTERM. `log` is where Triton's log is kept; without it the log lives in a
    temporary file that only a failure leaves behind. `url`, with its optional ports, is a server
    that runs already. `image` and `gpus` are for a container. `model_control` is Triton's mode: "none", or
    "explicit" where clients may unload models and load them again.
    """

    http_port: int = 0
    grpc_port: int = 0
    metrics_port: int = 0
    exit_timeout: int = 30
    log: Path | None = None
    url: str = ""
    image: str = ""
    gpus: str = ""
    shm_size: str = "1g"
    arguments: tuple[str, ...] = ()
    model_control: str = "none"

    @property
    def triton_arguments(self) -> tuple[str, ...]:
        """The words that end Triton's command line; whatever its mode, it begins with every model loaded."""
        explicit = ("--model-control-mode=explicit", "--load-model=*")
        return (*(explicit if self.model_control == "explicit" else ()), *self.arguments)


class Server(Protocol):
    """A Triton that can be started, asked where it listens, and stopped.

    `http`, `grpc` and `metrics` are "host:port", known once `start` has returned.
    """

    http: str
    grpc: str
    metrics: str

    @abstractmethod
    def start(self) -> None:
        """Start Triton and return at once; raise ServeError when it cannot even be started."""

    @abstractmethod
    def stop(self) -> None:
        """Let requests in flight finish, then end whatever `start` made; a second call does nothing.

        Triton 2.51 also waits for idle kept-alive HTTP connections, up to the exit timeout.
        """

    @abstractmethod
    def kill(self) -> None:
        """End at once whatever `start` made; may be called from a signal handler while `stop` waits."""

    @abstractmethod
    def exit_code(self) -> int | None:
        """Return how Triton ended (negative: by which signal), None while it runs."""

    @abstractmethod
    def log(self) -> str:
        """Return everything that Triton and its models have printed."""

    def log_path(self) -> Path | None:
        """Return the file that holds the log, None when there is none."""
        return None

    @abstractmethod
    def keep_log(self) -> None:
        """Leave the log file, if there is one, where it is when the server stops."""

    def alive(self) -> bool:
        """Return whether Triton still runs."""
        return self.exit_code() is None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
