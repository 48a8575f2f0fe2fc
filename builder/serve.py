"""Boot a Triton on a repository until it has proven to answer, and keep one in the foreground."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import FrameType

from builder import check, house, layout
from builder.check import Choice
from builder.errors import BuilderError, Interrupted, ServeError
from builder.finding import Finding
from builder.rule import Host
from builder.rules import backends
from builder.server import Options, Server
from builder.serving import readiness, together, triton_log, wakefulness
from builder.serving.gateway import GatewayProcess
from builder.serving.together import Part

_PORT_RACES = 3
_POLL = 0.1
_DEFAULT = Options()
# the digests of gigabytes take longer than the boot: `builder check` reads them
SLOW = ("TRN633",)
_QUICK = Choice(ignore=SLOW)
_REFUSING = Choice()


SECONDS_TO_BOOT = 600.0
"""An engine that compiles a model of billions at its first start takes minutes; a model that cannot be loaded
is told of at once."""


def create(repository: Path | None, *, using: str, options: Options) -> Server:
    """Return the server that `servers/<using>.py` makes; nothing has been started yet."""
    server: Server = house.plugin("servers", using, option="--using").create(repository, options)
    return server


def boot(
    repository: Path | None,
    *,
    using: str = "embedded",
    http_port: int = 0,
    grpc_port: int = 0,
    metrics_port: int = 0,
    timeout: float = SECONDS_TO_BOOT,
    options: Options = _DEFAULT,
    refusing: Choice = _REFUSING,
) -> Server:
    """Return a server on which every model of the folder is READY and a real request was answered.

    Args:
        repository: the model repository; None only with `using="remote"`, whose index is then
            required to be READY as it is.
        using: a file of `servers/`.
        http_port, grpc_port, metrics_port: 0 has a free one chosen; they win over `options`.
        timeout: seconds for all of it, on the wall clock.
        refusing: the rules of `builder check` whose errors refuse the repository before anything boots;
            what the others find is said when Triton refuses.

    Raises:
        ServeError: with Triton's own reason; no process is left, the log file is.

    Use it as a context manager: leaving the block stops the server.
    """
    options = dataclasses.replace(
        options,
        http_port=http_port or options.http_port,
        grpc_port=grpc_port or options.grpc_port,
        metrics_port=metrics_port or options.metrics_port,
    )
    models, findings = _inspect(repository, using, options, refusing)
    deadline = time.monotonic() + timeout
    for attempt in range(_PORT_RACES):
        server = create(repository, using=using, options=options)
        try:
            server.start()
            readiness.wait_until_live(server, deadline, timeout)
            if repository is None:
                readiness.require_ready_index(server)
            else:
                readiness.require_index(server, models, findings)
                readiness.require_answers(server, models, deadline)
            return server
        except BaseException as error:
            if isinstance(error, BuilderError) and not isinstance(error, Interrupted):
                lost_race = not server.alive() and triton_log.port_was_taken(server.log())
                if lost_race and attempt + 1 < _PORT_RACES and _has_free_choice(options):
                    server.kill()
                    continue
                server.keep_log()
            server.kill()
            raise
    raise AssertionError("Bug: the last attempt returns or raises")


def serve(
    repository: Path | None,
    *,
    using: str = "embedded",
    timeout: float = SECONDS_TO_BOOT,
    options: Options = _DEFAULT,
    refusing: Choice = _REFUSING,
    low_latency: bool = False,
    gateway: GatewayProcess | None = None,
    ready: Callable[[Server], None],
    say: Callable[[str], None],
) -> int:
    """Boot, call `ready` with the server, and serve until a signal or Ctrl-C; call from the main thread.

    The first signal lets requests in flight finish, the second ends the server at once. With `low_latency`
    the processors of this machine do not sleep until then. A `gateway` is started in front of the server;
    `ready` is called once it answers too, and when one of the two ends by itself the other is stopped.

    Returns:
        0 after a stop that was asked for and in which nothing was cut off, else 1: Triton or the gateway
        ended by itself (`say` gets Triton's last words), or the exit timeout or a second signal cut
        requests off.

    Raises:
        UsageError: the gateway's packages are missing.
        ServeError: the boot failed, the gateway's port is taken, or the processors cannot be kept awake.
        Interrupted: a signal came during the boot; nothing is left running.
    """
    stop = _Signals()
    with stop, wakefulness.awake() if low_latency else nullcontext():
        if gateway is not None:
            gateway.require()
        server = boot(repository, using=using, timeout=timeout, options=options, refusing=refusing)
        parts: list[Part] = [server] if gateway is None else [gateway, server]
        stop.serving = parts
        try:
            if gateway is None:
                ready(server)
            else:
                gateway.start(server.grpc, lambda: ready(server))
            while all(part.alive() for part in parts) and not stop.asked:
                time.sleep(_POLL)
            return together.stop(parts, options, say) if stop.asked else together.mourn(parts, say)
        finally:
            for part in parts:
                part.kill()


class _Signals:
    """SIGTERM, SIGHUP and SIGINT while it is entered: during the boot, once, and once more."""

    def __init__(self) -> None:
        self.serving: list[Part] = []
        self.asked = False
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ServeError("Bug: serve() must be called from the main thread, which gets the signals")
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            # under nohup a hang-up is ignored, and must stay so
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.serving:
            before = self._before.get(signal.Signals(number))
            if callable(before) and number != signal.SIGINT:
                # the command line's own, which ends with the signal's exit code
                before(number, frame)
            raise Interrupted("stopped during the boot; no server is left running")
        if self.asked:
            for part in self.serving:
                part.kill()
        self.asked = True


def _inspect(
    repository: Path | None, using: str, options: Options, refusing: Choice
) -> tuple[layout.Layout, list[Finding]]:
    """Read and check a repository; raise ServeError for what Triton would refuse, hang on or abort at."""
    if repository is None:
        return layout.Layout(Path(), {}), []
    models = layout.read(repository)
    host: Host = house.plugin("servers", using, option="--using").host(options)
    findings = check.check_layout(models, host, _QUICK)
    bad = _decisive([one for one in findings if one.severity != "warning" and one.code in refusing])
    if bad:
        raise ServeError(
            "\n".join(f"{finding.address}: {finding.code} {finding.message}" for finding in bad),
            expected="a repository whose models Triton loads",
            remedy="\n".join(dict.fromkeys(finding.remedy for finding in bad)),
        )
    return models, findings


def _decisive(bad: list[Finding]) -> list[Finding]:
    """Return the findings without what else is wrong with a model that this server has no backend for."""
    elsewhere = {one.model for one in bad if one.code == backends.UNKNOWN}
    return [one for one in bad if one.code == backends.UNKNOWN or one.model not in elsewhere]


def _has_free_choice(options: Options) -> bool:
    return not (options.http_port and options.grpc_port and options.metrics_port)
