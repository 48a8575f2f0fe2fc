"""Times as whole microseconds since 1970, and the months they lie in, by UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

SECOND = 1_000_000
_START = datetime(1970, 1, 1, tzinfo=UTC)


def of(moment: datetime) -> int:
    """Return a moment in microseconds; one that names no zone is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _START) // timedelta(microseconds=1)


def moment(micro: int) -> datetime:
    """Return the moment that microseconds stand for."""
    return _START + timedelta(microseconds=micro)


def show(micro: int) -> str:
    """Return a time as ISO 8601 writes it, to the second."""
    return moment(micro).strftime("%Y-%m-%dT%H:%M:%SZ")


def month(micro: int) -> str:
    """Return the month that a time lies in, "2026-11"."""
    return moment(micro).strftime("%Y-%m")


def bounds(name: str) -> tuple[int, int]:
    """Return when a month begins and when the next one does. Raises ValueError for what is no month."""
    first = datetime.strptime(name, "%Y-%m").replace(tzinfo=UTC)
    following = (first + timedelta(days=31)).replace(day=1)
    return of(first), of(following)
