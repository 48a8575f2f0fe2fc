"""SIGTERM and SIGHUP end a command in order, so that no server or child of it outlives it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)
_SECONDS_TO_HEAR = 0.2


@contextmanager
def as_exit() -> Iterator[list[signal.Signals]]:
    """Raise SystemExit(128 + number) on the first SIGTERM or SIGHUP; gives those that came.

    Those after it are only remembered: whoever asks twice must not cut the cleaning up short. A signal that
    is ignored, as under nohup, stays ignored. Only the main thread gets signals: elsewhere nothing changes.
    """
    received: list[signal.Signals] = []

    def leave(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        if len(received) == 1:
            raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    ours = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, leave)
    try:
        with _insisting(lambda number: signal.getsignal(number) is leave and not received):
            yield received
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def held() -> Iterator[None]:
    """Let signals be heard at the end of the block only: what was started in it must be known before.

    Else one that comes while a process starts leaves the process behind, as nobody has its number yet.
    """
    came: list[tuple[int, FrameType | None]] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))

    here = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (*_ENDING, signal.SIGINT) if here}
    ours = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in ours:
        signal.signal(number, remember)
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        for heard, frame in came:
            ours[signal.Signals(heard)](heard, frame)


@contextmanager
def _insisting(is_unheard: Callable[[int], bool]) -> Iterator[None]:
    """Send a signal again while it is unheard.

    Python hears none that comes in the moment before a C library begins to wait, as `input` does at a
    terminal: it would be heard with the next key. What has another handler, as in `serve`, is left to it.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)
    left = threading.Event()

    def insist() -> None:
        with os.fdopen(heard, "rb", buffering=0) as numbers:
            while number := numbers.read(1):
                while is_unheard(number[0]) and not left.wait(_SECONDS_TO_HEAR):
                    if is_unheard(number[0]):
                        signal.pthread_kill(threading.main_thread().ident or 0, number[0])

    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=insist, daemon=True).start()
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        os.close(told)
