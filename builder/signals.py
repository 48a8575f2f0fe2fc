"""SIGTERM and SIGHUP end a command in order, so that no server or child of it outlives it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)


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

    here = threading.current_thread() is threading.main_thread()
    ours = [number for number in _ENDING if here and signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, leave)
    try:
        yield received
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
