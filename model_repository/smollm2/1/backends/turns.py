"""How long a thread keeps the interpreter while others wait for it."""

from __future__ import annotations

import sys

SECONDS = 0.0005


def shorten() -> None:
    """Let threads take turns sooner than after Python's 5 ms (sys.setswitchinterval).

    Requests, steps and responses cross several threads, each of which would wait that long for one that is
    busy; with hundreds of requests that is what most of their time went into.
    """
    sys.setswitchinterval(SECONDS)
