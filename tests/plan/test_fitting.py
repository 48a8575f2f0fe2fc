"""Types that fit a budget: against all there are, where these can be tried."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.planning.fitting import Choice, Fitted, fit

SMALL, LARGE = Choice("small", 4, 0.5), Choice("large", 8, 0.1)


def choices(draw: st.DrawFn) -> list[Choice]:
    sizes = draw(st.lists(st.integers(1, 20), min_size=1, max_size=4, unique=True))
    return [Choice(f"q{size}", size, draw(st.floats(0, 1))) for size in sizes]


@st.composite
def models(draw: st.DrawFn) -> dict[str, list[Choice]]:
    return {f"part {number}": choices(draw) for number in range(draw(st.integers(1, 4)))}


def best(parts: Mapping[str, Sequence[Choice]], budget: int) -> float | None:
    every = itertools.product(*parts.values())
    fitting = [
        sum(one.loss for one in chosen) for chosen in every if sum(one.size for one in chosen) <= budget
    ]
    return min(fitting, default=None)


def of(parts: Mapping[str, Sequence[Choice]], found: Fitted[str]) -> list[Choice]:
    return [next(one for one in parts[place] if one.kind == kind) for place, kind in found.kinds.items()]


def test_the_step_that_saves_most_for_its_bytes_comes_first() -> None:
    parts = {"first": [SMALL, LARGE], "second": [SMALL, Choice("large", 8, 0.4)]}
    found = fit(parts, 12)
    assert found is not None
    assert found.kinds == {"first": "large", "second": "small"}
    assert (found.size, found.loss) == (12, pytest.approx(0.6))


def test_what_is_too_large_for_any_type_has_none() -> None:
    assert fit({"first": [SMALL], "second": [SMALL]}, 7) is None


def test_a_larger_type_that_loses_more_is_never_taken() -> None:
    found = fit({"part": [SMALL, Choice("worse", 6, 0.6)]}, 100)
    assert found is not None and found.kinds == {"part": "small"}


@given(models(), st.integers(0, 80))
def test_it_fits_and_is_near_the_best(parts: dict[str, list[Choice]], budget: int) -> None:
    found, least = fit(parts, budget), best(parts, budget)
    if found is None:
        assert least is None
        return
    chosen = of(parts, found)
    assert found.size == sum(one.size for one in chosen) <= budget
    assert found.loss == pytest.approx(sum(one.loss for one in chosen))
    assert least is not None
    # no further from the best than one part's step, as a greedy knapsack over convex ladders is
    widest = max(
        max(one.loss for one in ladder) - min(one.loss for one in ladder) for ladder in parts.values()
    )
    assert found.loss <= least + widest + 1e-9


@given(models(), st.integers(0, 60), st.integers(0, 20))
def test_all_the_room_there_is_loses_nothing_that_could_be_kept(
    parts: dict[str, list[Choice]], budget: int, more: int
) -> None:
    room = sum(max(one.size for one in ladder) for ladder in parts.values()) + more
    found = fit(parts, room)
    assert found is not None
    assert found.loss == pytest.approx(sum(min(one.loss for one in ladder) for ladder in parts.values()))


@given(models(), st.integers(0, 80), st.integers(0, 20))
def test_more_room_never_loses_more(parts: dict[str, list[Choice]], budget: int, more: int) -> None:
    tight, wide = fit(parts, budget), fit(parts, budget + more)
    if tight is None:
        return
    assert wide is not None
    assert wide.loss <= tight.loss + 1e-9
