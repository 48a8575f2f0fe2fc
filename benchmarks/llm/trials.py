"""The loads, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace

CLOSED, BATCH = "closed", "batch"


@dataclass(frozen=True)
class Trial:
    """One load: so many requests, `level` at once, `tokens` made by each.

    A "closed" load goes on until the last of its requests has ended, so that none is answered by a server
    that has less to do. In a "batch" all begin at once and the slowest ends it; of one at a time it is one
    after the other. `prompts` are "chats", or long ones: "shared" ones begin alike, "distinct" ones do not.
    """

    level: int
    shape: str
    requests: int
    tokens: int = 256
    prompts: str = "chats"

    @property
    def name(self) -> str:
        kind = f" {self.prompts}" if self.prompts != "chats" else ""
        return f"{self.level} at once, {self.shape}{kind}"


LEVELS = (1, 8, 32, 256)
_REQUESTS = {1: 8, 8: 16, 32: 64, 256: 512}
CLOSED_TRIALS = tuple(Trial(level, CLOSED, _REQUESTS[level]) for level in LEVELS)
BATCH_TRIALS = tuple(Trial(level, BATCH, level) for level in (32, 256))
RAW_TRIALS = (Trial(1, BATCH, 8), *BATCH_TRIALS)

PREFIX_TOKENS, PROMPT_TOKENS, PREFIX_LEVEL = 900, 1000, 64
PREFIX_TRIALS = tuple(
    Trial(PREFIX_LEVEL, CLOSED, 4 * PREFIX_LEVEL, tokens=32, prompts=kind) for kind in ("shared", "distinct")
)


def rehearsed(trials: tuple[Trial, ...]) -> tuple[Trial, ...]:
    """Return smaller ones: does it run? Levels stay apart up to 4."""
    return tuple(
        replace(one, level=min(one.level, 4), requests=min(one.requests, 4), tokens=4)
        for one in trials
        if one.level in (1, 32, PREFIX_LEVEL)
    )
