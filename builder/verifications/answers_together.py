"""Inputs that are computed together, in one request or in many at once, are answered as each is alone."""

from __future__ import annotations

import time
from collections.abc import Sequence

from builder import likeness
from builder.longest import Longest
from builder.recorded import Ask, Row
from builder.single_pass import Counters, Outputs, SinglePass
from builder.subject import Mismatch, Skipped, expect, shortened, together
from builder.triton_client import TritonError

ORDER = 210
SCOPE = "single_pass"
PATIENCE = 4

AT_ONCE, MANY = 32, 128
DOCUMENTS = 4
TRIES = 3

BUSY_SECONDS, BUSY_ROWS = 0.25, 32
"""For how long a model is kept busy while requests gather before it, and with how many rows at most."""

WAIT_SECONDS = 0.002
"""Requests that waited for less than this, each, may have met nobody to share a batch with."""

FULL_SECONDS = 6.0
"""What a full batch may take; a model that is slower is asked for fewer rows."""


def rows_of_one_request(subject: SinglePass) -> str:
    """Inputs sent as the rows of one request are answered row by row, in their order."""
    asks = _rows(subject)
    asks = asks[: subject.fitting(asks[0].inputs)]
    for order in (asks, asks[::-1]):
        _expect_rows(subject, order, subject.ask(*(ask.inputs for ask in order)))
    return f"{len(asks)} rows, and in reverse"


def _rows(subject: SinglePass) -> list[Ask]:
    """Return the most questions whose inputs have the same shapes, as the rows of one request must.

    Two of them fit into a request.
    """
    documents = min(DOCUMENTS, subject.rows() // 2)
    groups: dict[str, list[Ask]] = {}
    for ask in subject.asks:
        short = ask.trimmed(documents)
        groups.setdefault(_shapes(short), []).append(short)
    most = max(groups.values(), key=len)
    return most if len(most) > 1 else most * 2


def _shapes(ask: Ask) -> str:
    return str([likeness.shape(values) for values in ask.inputs.values()])


def _expect_rows(subject: SinglePass, asks: Sequence[Ask], seen: Outputs) -> None:
    for name, values in seen.items():
        expect(len(values) == len(asks), f"{name} has {len(values)} rows, {len(asks)} were asked")
    for number, ask in enumerate(asks):
        subject.alike(f"row {number + 1} of {len(asks)}, {ask.id!r}", ask.outputs, subject.row(seen, number))


def requests_of_many_rows_at_once(subject: SinglePass) -> str:
    """Requests with one to eight rows each, all at once, get each the answers to their own rows."""
    asks = _rows(subject)
    most = min(subject.fitting(asks[0].inputs), 8)
    sizes = [*range(1, most + 1), 1, most, 2]
    requests = [[asks[(place + row) % len(asks)] for row in range(size)] for place, size in enumerate(sizes)]
    answers = subject.burst([[ask.inputs for ask in rows] for rows in requests])
    for rows, seen in zip(requests, answers, strict=True):
        _expect_rows(subject, rows, _answered(seen, f"a request of {len(rows)} rows"))
    return f"{len(requests)} requests, {sum(sizes)} rows"


def _answered(seen: Outputs | TritonError, what: str) -> Outputs:
    if isinstance(seen, TritonError):
        raise Mismatch(f"{what}: {shortened(str(seen), 200)}") from seen
    return seen


def alone_equals_among_many(subject: SinglePass) -> str:
    """Each of many requests at once, of different lengths, is answered as it is alone."""
    asks = _varied(subject)
    # the server's own answers: what the precision costs is no fault of the neighbours
    alone = [subject.row(subject.ask(ask.inputs)) for ask in asks]
    places = [place % len(asks) for place in range(AT_ONCE)]
    answers = subject.burst([[asks[place].inputs] for place in places])
    for place, answer in zip(places, answers, strict=True):
        what = f"{asks[place].id!r} among {AT_ONCE}"
        # an output that was not recorded is on the edge between two answers
        wanted = {name: alone[place][name] for name in asks[place].outputs}
        subject.alike(what, wanted, subject.row(_answered(answer, what)))
    return f"{AT_ONCE} requests at once"


def _varied(subject: SinglePass) -> list[Ask]:
    most = min(5, max(1, subject.max_batch_size))
    return [ask.trimmed(1 + place % most) for place, ask in enumerate(subject.asks)]


def many_clients_at_once(subject: SinglePass) -> str:
    """As many clients as a service may have, over both doors, all get their source's answers."""
    asks = _varied(subject)

    def ask(number: int) -> None:
        subject.good(asks[number % len(asks)], over="http" if number % 2 else "grpc")

    together(ask, range(MANY))
    return f"{MANY} requests at once, half of them over HTTP"


def requests_share_batches(subject: SinglePass) -> str:
    """Requests that wait at the same time are computed together, of whatever lengths they are."""
    subject.rows()
    first, *asks = _of_all_lengths(subject)
    busy = _busy(subject, first.inputs)
    for _ in range(TRIES):
        before = subject.counters()
        for seen in subject.burst([busy, *([ask.inputs] for ask in asks)]):
            _answered(seen, "one of many requests")
        ran = _counted(subject, before, len(asks) + 1)
        if ran.executions < ran.requests:
            return f"{ran.requests:.0f} requests in {ran.executions:.0f} executions of {subject.batched}"
    if ran.waited < WAIT_SECONDS * ran.requests:
        raise Skipped("no request had to wait for another: the model is faster than they can be sent")
    raise Mismatch(
        f"{subject.batched} took {ran.requests:.0f} requests, which waited {ran.waited:.3f} s together, "
        f"in {ran.executions:.0f} executions: none shared a batch"
    )


def _of_all_lengths(subject: SinglePass) -> list[Ask]:
    """Return questions of which no two are of one length, or all where there is only one."""
    asks = _varied(subject)
    different = {str(ask.outputs.get("num_input_tokens")) + _shapes(ask): ask for ask in asks}
    return list(different.values()) if len(different) > 1 else asks * 2


def _busy(subject: SinglePass, row: Row) -> list[Row]:
    """Return rows of one request that keep the model busy while others arrive."""
    started = time.monotonic()
    subject.ask(row)
    rows = int(BUSY_SECONDS / (time.monotonic() - started))
    return [row] * max(1, min(rows, BUSY_ROWS, subject.fitting(row) // 2))


def _counted(subject: SinglePass, before: Counters, requests: int) -> Counters:
    """Return what was counted since; Triton counts a request a moment after it was answered."""
    seen: list[Counters] = []

    def is_counted() -> bool:
        now = subject.counters()
        seen.append(
            Counters(
                now.requests - before.requests, now.executions - before.executions, now.waited - before.waited
            )
        )
        return seen[-1].requests >= requests

    expect(
        subject.client.until(is_counted, 5.0),
        f"{subject.batched} counted {seen[-1].requests:.0f} requests, {requests} were answered",
    )
    return seen[-1]


def full_batch_of_the_longest(subject: SinglePass) -> str:
    """As many rows as a request may have, each as long as a text may be, are answered as one is alone."""
    most = subject.rows()
    row = _longest(subject)
    alone = subject.row(subject.ask(row))
    started = time.monotonic()
    # the first of a new length may take longer
    subject.ask(row)
    rows = max(2, min(most, int(FULL_SECONDS / (time.monotonic() - started))))
    try:
        seen = subject.ask(*[row] * rows)
    except TritonError as error:
        raise Mismatch(f"{rows} rows: {shortened(str(error), 200)}") from error
    for number in range(rows):
        subject.alike(f"row {number + 1} of {rows}", alone, subject.row(seen, number))
    left = f" of {most}, for all would take longer than {FULL_SECONDS:g} s" if rows < most else ""
    return f"{rows} rows{left}"


def _longest(subject: SinglePass) -> Row:
    try:
        longest = Longest(subject)
        return longest.row(longest.most)
    except Skipped:
        return subject.asks[0].trimmed(1).inputs
