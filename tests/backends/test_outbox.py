"""What an engine's process tells a front that is slower than its steps."""

from __future__ import annotations

from multiprocessing import Pipe

from backends.engine.host import Outbox
from backends.engine.orders import FEW, MOST_UNHEARD, News
from backends.engine.stepper import Gauges, Progress


def test_what_a_front_has_not_taken_waits_as_one_piece() -> None:
    """Steps one after the other: those that the front does not come to are joined, in order, none lost."""
    theirs, ours = Pipe()
    outbox = Outbox(ours)
    for step in range(MOST_UNHEARD):
        outbox.put([Progress(1, (step,)), Progress(2, (10 + step,))], Gauges(running=2))
        assert theirs.poll(10)
        assert theirs.recv() == News((Progress(1, (step,)), Progress(2, (10 + step,))), Gauges(running=2), 2)
    for step in range(2, 50):
        outbox.put([Progress(1, (step,), finish_reason="length" if step == 49 else None)], Gauges(running=1))
    assert not theirs.poll(0.1)
    outbox.heard()
    assert theirs.poll(10)
    assert theirs.recv() == News(
        (Progress(1, tuple(range(2, 50)), finish_reason="length"),), Gauges(running=1), 48
    )
    outbox.close()


def test_of_many_sequences_the_front_hears_one_piece_at_a_time() -> None:
    theirs, ours = Pipe()
    outbox = Outbox(ours)
    outbox.put([Progress(key, (0,)) for key in range(FEW)], Gauges())
    assert theirs.poll(10)
    assert len(theirs.recv().progress) == FEW
    outbox.put([Progress(1, (1,))], Gauges())
    outbox.put([Progress(key, (1,)) for key in range(2, FEW)], Gauges())
    assert not theirs.poll(0.1)
    # a few more may be told of, as soon as there is room for all of them
    outbox.heard()
    assert theirs.poll(10)
    assert {progress.ids for progress in theirs.recv().progress} == {(1,)}
    outbox.close()


def test_news_of_few_sequences_are_not_joined_while_the_front_passes_on_the_last() -> None:
    theirs, ours = Pipe()
    outbox = Outbox(ours)
    for step in range(MOST_UNHEARD):
        outbox.put([Progress(key, (step,)) for key in range(FEW // MOST_UNHEARD)], Gauges())
        assert theirs.poll(10)
        assert {progress.ids for progress in theirs.recv().progress} == {(step,)}
    outbox.close()


def test_what_waits_is_sent_at_the_end_heard_or_not() -> None:
    theirs, ours = Pipe()
    outbox = Outbox(ours)
    for step in range(MOST_UNHEARD + 3):
        outbox.put([Progress(1, (step,))], Gauges())
    outbox.close()
    told: list[int] = []
    while theirs.poll(0):
        told += [token for progress in theirs.recv().progress for token in progress.ids]
    assert told == list(range(MOST_UNHEARD + 3))
