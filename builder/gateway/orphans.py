"""Workers end with the process that started them, however that ends."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal


def end_with_parent() -> None:
    """End this process in order when the one that made it by multiprocessing has gone; a no-op elsewhere."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    loop = asyncio.get_running_loop()

    def leave() -> None:
        loop.remove_reader(parent.sentinel)
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(parent.sentinel, leave)
