"""Told: what a generator says of a run when it is over; several of them asked at once make one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from builder.measuring.door import Answer, Door

if TYPE_CHECKING:
    # the parent, which asks nobody, needs no event loop
    from builder.measuring.load import Record, Run


@dataclass(frozen=True)
class Asked:
    """One request, in seconds of `time.perf_counter`, which all processes of a machine share.

    `last` is when the last of its answer arrived, None of nothing; `error` is "" for an answer.
    """

    due: float
    measured: bool
    sent: float
    last: float | None
    error: str
    answer: Answer


@dataclass(frozen=True)
class Told:
    """All requests between `started` and `ended`; `cpu_share` is of the busiest generator."""

    started: float
    ended: float
    gave_up: str
    cpu_share: float
    requests: tuple[Asked, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def of(run: Run, door: Door, cpu_seconds: float = 0.0) -> Told:
    """Return what was heard, read: only now it can be seen what is no answer."""
    requests = tuple(_asked(record, door.read(record.heard)) for record in run.records)
    share = cpu_seconds / (run.ended - run.started) if run.ended > run.started else 0.0
    return Told(run.started, run.ended, run.gave_up, round(share, 3), requests)


def from_json(fields: Mapping[str, Any]) -> Told:
    """Return what `to_json` gave."""
    requests = tuple(Asked(**{**one, "answer": Answer(**one["answer"])}) for one in fields["requests"])
    return Told(**{**fields, "requests": requests})


def joined(parts: Sequence[Told]) -> Told:
    """Return generators' runs as one: its window is when all of them asked."""
    return Told(
        started=max(part.started for part in parts),
        ended=min(part.ended for part in parts),
        gave_up=next((part.gave_up for part in parts if part.gave_up), ""),
        cpu_share=max(part.cpu_share for part in parts),
        requests=tuple(request for part in parts for request in part.requests),
    )


def _asked(record: Record, answer: Answer) -> Asked:
    last = record.heard[-1][0] if record.heard else None
    return Asked(record.due, record.measured, record.sent, last, record.error or answer.error, answer)
