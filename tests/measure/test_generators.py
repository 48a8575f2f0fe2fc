"""Several generators that ask as one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.measuring.door import Answer
from builder.measuring.generators import Generators
from builder.measuring.task import Load, shared
from builder.measuring.told import Asked, Told, from_json, joined


@given(st.integers(1, 300), st.integers(0, 2000), st.integers(1, 16))
def test_the_shares_of_a_closed_load_are_the_load(concurrency: int, requests: int, processes: int) -> None:
    shares = shared(Load("closed", concurrency=concurrency, requests=requests, seconds=3.0), processes)
    assert len(shares) == min(processes, concurrency)
    assert sum(share.concurrency for share in shares) == concurrency
    assert sum(share.requests for share in shares) == requests
    assert all(share.concurrency and share.seconds == 3.0 for share in shares)
    # nobody has more than a request more for each worker
    each = [share.requests / share.concurrency for share in shares]
    assert max(each) - min(each) <= 1


@given(st.floats(0.01, 1e4), st.integers(0, 2000), st.integers(1, 16))
def test_the_shares_of_an_open_load_are_the_load(rate: float, requests: int, processes: int) -> None:
    shares = shared(Load("open", rate=rate, requests=requests), processes)
    assert sum(share.rate for share in shares) == pytest.approx(rate)
    assert sum(share.requests for share in shares) == requests


def test_runs_are_joined_where_all_of_them_asked() -> None:
    first = Asked(1.0, True, 1.0, 2.0, "", Answer([1.5, 2.0], [1.0, 1.0], 4.0))
    second = Asked(1.2, True, 1.2, None, "broke", Answer())
    parts = [Told(1.0, 9.0, "", 0.25, (first,)), Told(1.1, 8.0, "gone", 0.5, (second,))]
    assert joined(parts) == Told(1.1, 8.0, "gone", 0.5, (first, second))
    assert from_json(parts[0].to_json()) == parts[0]


def test_one_that_does_not_start_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[str] = []

    class Stub:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> None:
            if self.name == "b":
                raise OSError("no more processes")
            entered.append(self.name)

        def __exit__(self, *_: object) -> None:
            entered.remove(self.name)

    generators = Generators.__new__(Generators)
    generators._generators = [Stub("a"), Stub("b")]  # type: ignore[list-item]
    with pytest.raises(OSError, match="no more processes"):
        generators.__enter__()
    assert entered == []
