"""How much of a limit per minute is left: a bucket that holds a minute's worth and is always being filled.

It may be in debt, as tokens are counted when they have been generated: what an answer took beyond the limit
is waited for afterwards, so the mean never exceeds the limit. All numbers are whole: a level is in millionths
of a request or a token, a time in microseconds.
"""

from __future__ import annotations

ONE = 1_000_000
_MINUTE = 60


def filled(level: int, per_minute: int, elapsed: int) -> int:
    """Return a level after some time; a clock that was set back fills nothing."""
    # a millionth for every microsecond is 60 a minute
    return min(per_minute * ONE, level + per_minute * max(0, elapsed) // _MINUTE)


def wait(level: int, wanted: int, per_minute: int) -> int:
    """Return how long it takes until a level has risen to another one."""
    return max(0, -(-(wanted - level) * _MINUTE // per_minute))
