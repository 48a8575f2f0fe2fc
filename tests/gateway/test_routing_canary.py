"""When a canary is taken back: the figures, the decision, and what workers know of each other."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median_low

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.gateway.routing import judging
from builder.gateway.routing.judging import Tally
from builder.gateway.routing.route import Canary, Route
from builder.gateway.routing.trials import FAILED, FILE, Answer, Trials

TERMS = Canary("new", 5, max_error_rate=0.1, max_latency_ratio=2, window=60, min_answers=20)
CHAT = "/v1/chat/completions, whole"
LATENCIES = st.floats(1e-4, 1e4)


def tally(good: int, failed: int = 0, seconds: float = 0.1, kind: str = CHAT) -> Tally:
    return Tally(good + failed, failed, {kind: Counter({judging.bucket(seconds): good})})


@given(LATENCIES)
def test_a_latency_is_kept_to_a_hundredth(seconds: float) -> None:
    kept = judging.seconds(judging.bucket(seconds))
    assert abs(kept - seconds) <= judging.ACCURACY * seconds * 1.0001


@given(st.lists(LATENCIES, min_size=1, max_size=50))
def test_medians_are_those_of_the_numbers(numbers: list[float]) -> None:
    found = judging.median(Counter(map(judging.bucket, numbers)))
    assert abs(found - median_low(numbers)) <= judging.ACCURACY * median_low(numbers) * 1.0001


def test_failures() -> None:
    assert judging.worse(TERMS, tally(18, 2), tally(100)) is None
    assert judging.worse(TERMS, tally(17, 3), tally(100)) is not None
    # of few answers: as many as make it certain
    assert judging.worse(TERMS, tally(0, 2), tally(100)) is None
    assert (
        judging.worse(TERMS, tally(0, 3), tally(100)) == "3 of its 3 answers failed, 0 of 100 of the other's"
    )
    assert judging.worse(TERMS, tally(0, 3), tally(0)) is not None


def test_what_fails_on_both_sides_is_not_the_canarys_fault() -> None:
    assert judging.worse(TERMS, tally(10, 10), tally(100, 100)) is None
    assert judging.worse(TERMS, tally(7, 13), tally(100, 100)) is not None


def test_latencies_need_answers_on_both_sides() -> None:
    slow, fast = 0.21, 0.1
    assert judging.worse(TERMS, tally(20, seconds=slow), tally(20, seconds=fast)) == (
        f"its median latency is 0.21 s, the other's 0.099 s ({CHAT})"
    )
    for own, other in ((19, 20), (20, 19)):
        assert judging.worse(TERMS, tally(own, seconds=slow), tally(other, seconds=fast)) is None
    assert judging.worse(TERMS, tally(20, seconds=0.19), tally(20, seconds=fast)) is None
    # a stream's first event and a whole answer are not compared
    assert judging.worse(TERMS, tally(20, seconds=slow, kind="a"), tally(20, seconds=fast, kind="b")) is None


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 500), st.integers(0, 500))
def test_a_canary_that_fails_no_more_often_stays(good: int, failed: int, more: int, others: int) -> None:
    stable = Tally(more + others, others)
    why = judging.worse(TERMS, Tally(good + failed, failed), stable)
    if failed / max(1, good + failed) <= stable.error_rate + TERMS.max_error_rate:
        assert why is None
    elif good + failed >= TERMS.min_answers:
        assert why is not None


@pytest.fixture(params=["memory", "file"])
def trials(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trials]:
    made = Trials(":memory:" if request.param == "memory" else str(tmp_path / "trials"))
    yield made
    made.close()


def test_a_window_of_answers(trials: Trials) -> None:
    good, bad = Answer("t", True, CHAT, 7), Answer("t", True, CHAT, FAILED)
    trials.add({good: 3, bad: 1}, 100)
    trials.add({good: 2, Answer("t", False, CHAT, 7): 5, Answer("other", True, CHAT, 7): 9}, 100)
    trials.add({good: 1}, 130)
    assert trials.tallies("t", 100) == (
        Tally(7, 1, {CHAT: Counter({7: 6})}),
        Tally(5, 0, {CHAT: Counter({7: 5})}),
    )
    assert trials.tallies("t", 101) == (Tally(1, 0, {CHAT: Counter({7: 1})}), Tally())


def test_a_canary_is_taken_back_once(trials: Trials) -> None:
    assert trials.taken_back() == frozenset()
    assert (trials.take_back("t"), trials.take_back("t"), trials.take_back("u")) == (True, False, True)
    assert trials.taken_back() == {"t", "u"}
    trials.keep(["t", "v"])
    assert trials.taken_back() == {"t"}
    trials.keep([])
    assert trials.take_back("t")


def test_things_are_said_once(trials: Trials) -> None:
    for about in (FILE, "names"):
        said = [trials.say_once(about, what) for what in ("a", "a", "b", "a")]
        assert said == [True, False, True, False]
    assert trials.good() is None
    trials.keep_good("text")
    trials.keep_good("newer")
    assert trials.good() == "newer"
    assert trials.say_once(FILE, "a") and not trials.say_once("names", "a")


WORKER = """
import sys
from builder.gateway.routing.trials import Answer, Trials
trials = Trials(sys.argv[1])
for second in range(50):
    trials.add({Answer("t", True, "k", 1): 2, Answer("t", False, "k", second): 1}, second)
print(sum(trials.take_back(str(one)) for one in range(50)))
"""


def test_workers_add_up(tmp_path: Path) -> None:
    path = str(tmp_path / "trials")
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, path], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    firsts = [int(worker.communicate()[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 3
    assert sum(firsts) == 50
    trials = Trials(path)
    canary, stable = trials.tallies("t", 0)
    trials.close()
    assert (canary.answers, stable.answers) == (300, 150)


def test_any_change_of_a_route_is_another_trial() -> None:
    route = Route("chat", {"old": 1.0}, TERMS, ("spare",))
    others = [
        replace(route, name="talk"),
        replace(route, weights={"older": 1.0}),
        replace(route, canary=replace(TERMS, share=6)),
        replace(route, canary=replace(TERMS, window=61)),
        replace(route, fallback=()),
    ]
    assert len({one.trial for one in [route, *others]}) == len(others) + 1
    assert replace(route).trial == route.trial
