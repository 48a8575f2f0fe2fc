"""vLLM's own scheduler, which tells how it stands some twenty times a second instead of at every step.

Its engine core makes, packs and sends those numbers between two steps; where a step takes a millisecond that
is time which the next one waits for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

SECONDS_BETWEEN_NUMBERS = 0.05


def scheduler(*, vllm_config: Any, **given: Any) -> Any:
    """Return the scheduler that vLLM would have taken; to be told by name as EngineArgs.scheduler_cls.

    vLLM 0.22 calls what it finds there with keywords alone (v1/engine/core.py).
    """
    settings = vllm_config.scheduler_config
    settings.scheduler_cls = None
    made = settings.get_scheduler_cls()(vllm_config=vllm_config, **given)
    made.make_stats = _seldom(made, made.make_stats)
    return made


def _seldom(scheduler: Any, make: Callable[..., Any]) -> Callable[..., Any]:
    """Return `make`, which adds up what it counts between two calls, held back while sequences run."""
    due = 0.0

    def make_stats(*args: Any, **named: Any) -> Any:
        nonlocal due
        now = time.monotonic()
        # nothing follows the step that ended the last sequence
        if scheduler.running and now < due:
            return None
        due = now + SECONDS_BETWEEN_NUMBERS
        return make(*args, **named)

    return make_stats
