"""The Pareto front: by hand, and what must hold of any points."""

from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from builder.comparing import pareto

NUMBERS = st.integers(0, 6).map(float) | st.floats(-1e6, 1e6)
POINTS = st.dictionaries(st.integers(0, 30), st.tuples(NUMBERS, NUMBERS), max_size=12)


def test_by_hand() -> None:
    points = {
        "float32": (538.0, 0.0),
        "float16": (269.0, 0.0),  # half of it, and nothing lost: float32 is worth no look
        "int8": (150.0, 0.004),
        "q8_0": (143.0, 0.003),  # smaller and better than int8
        "int4": (88.0, 0.1),
        "q4_k_m": (105.0, 0.06),
        "q5_k_m": (105.0, 0.07),  # as large as q4_k_m, and worse
    }
    assert pareto.front(points) == ["float16", "q8_0", "int4", "q4_k_m"]


def test_equals_stand_beside_each_other() -> None:
    assert pareto.front({"a": (1.0, 1.0), "b": (1.0, 1.0), "c": (1.0, 2.0)}) == ["a", "b"]
    assert pareto.front({}) == []


def test_what_is_no_number_is_on_no_front() -> None:
    points = {"lost": (1.0, math.inf), "unknown": (0.0, math.nan), "known": (2.0, 2.0)}
    assert pareto.front(points) == ["known"]


@given(POINTS)
def test_none_of_the_front_is_dominated_and_every_other_is_by_one_of_it(
    points: dict[int, tuple[float, float]],
) -> None:
    best = pareto.front(points)
    assert bool(best) == bool(points)
    for name in points:
        beaten = any(pareto.dominates(points[other], points[name]) for other in best)
        assert beaten == (name not in best)


@given(POINTS)
def test_a_front_as_a_line_falls(points: dict[int, tuple[float, float]]) -> None:
    line = sorted({points[name] for name in pareto.front(points)})
    assert all(left[1] > right[1] for left, right in itertools.pairwise(line))
