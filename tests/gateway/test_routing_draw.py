"""Users divided among models: evenly, for good, and with as few moves as a change of weights asks for."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from builder.gateway.routing import draw
from builder.gateway.routing.route import Canary, Route

USERS = [f"user-{number}" for number in range(20_000)]
WEIGHTS = st.dictionaries(st.text(min_size=1, max_size=8), st.floats(0.01, 1000), min_size=1, max_size=6)
# chi-square of 1 to 4 degrees of freedom that one in a million exceeds
CRITICAL = (23.93, 27.63, 30.66, 33.38)


def chi_square(found: Counter[str], weights: dict[str, float]) -> float:
    whole, drawn = sum(weights.values()), found.total()
    expected = {model: drawn * weight / whole for model, weight in weights.items()}
    return sum((found[model] - count) ** 2 / count for model, count in expected.items())


def test_shares_are_the_weights() -> None:
    for weights in ({"a": 1.0, "b": 1.0}, {"a": 90.0, "b": 10.0}, {"a": 5.0, "b": 3.0, "c": 1.5, "d": 0.5}):
        for route in ("code", "chat"):
            found = Counter(draw.model(route, user, weights) for user in USERS)
            assert chi_square(found, weights) < CRITICAL[len(weights) - 2]


def test_routes_divide_users_independently() -> None:
    weights = {"a": 1.0, "b": 1.0}
    found = Counter(draw.model("code", user, weights) + draw.model("chat", user, weights) for user in USERS)
    assert chi_square(found, dict.fromkeys(("aa", "ab", "ba", "bb"), 1.0)) < CRITICAL[2]


def test_it_is_the_same_everywhere_and_for_good() -> None:
    """A change of these would give users other models when a gateway is renewed."""
    weights = {"a": 1.0, "b": 1.0, "c": 2.0}
    assert [draw.model("code", f"u{number}", weights) for number in range(12)] == list(FIRST)


FIRST = "bccabccccbbb"


@given(st.text(), st.text(), WEIGHTS)
def test_neither_order_nor_scale_matters(route: str, user: str, weights: dict[str, float]) -> None:
    chosen = draw.model(route, user, weights)
    assert chosen in weights
    assert draw.model(route, user, dict(reversed(weights.items()))) == chosen
    assert draw.model(route, user, {model: weight * 4 for model, weight in weights.items()}) == chosen


@given(st.text(), WEIGHTS, st.data())
def test_a_raised_weight_keeps_its_users(route: str, weights: dict[str, float], data: st.DataObject) -> None:
    raised = data.draw(st.sampled_from(sorted(weights)))
    more = {**weights, raised: weights[raised] * data.draw(st.floats(1, 100))}
    for user in USERS[:50]:
        before, after = draw.model(route, user, weights), draw.model(route, user, more)
        # whoever moves, moves to it
        assert after in (before, raised)


@given(st.text(), WEIGHTS, st.data())
def test_a_model_that_goes_moves_only_its_own_users(
    route: str, weights: dict[str, float], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(sorted(weights)))
    left = {model: weight for model, weight in weights.items() if model != gone}
    for user in USERS[:50]:
        before = draw.model(route, user, weights)
        assert before == gone or draw.model(route, user, {**weights, gone: 0.0}) == before
        assert not left or before == gone or draw.model(route, user, left) == before


@given(st.lists(st.floats(0, 100), min_size=2, max_size=6, unique=True).map(sorted))
def test_a_canarys_share_grows_by_new_users_only(shares: list[float]) -> None:
    routes = [Route("chat", {"old": 1.0}, Canary("new", share)) for share in shares]
    for user in USERS[:100]:
        chosen = [route.order(user)[0] for route in routes]
        assert all(after == "new" for before, after in pairwise(chosen) if before == "new")


def test_nobody_and_everybody() -> None:
    nobody = Route("chat", {"old": 1.0}, Canary("new", 0))
    everybody = Route("chat", {"old": 1.0}, Canary("new", 100), ("spare",))
    for user in USERS[:100]:
        assert nobody.order(user) == ("old",)
        assert everybody.order(user) == ("new", "old", "spare")
        assert everybody.order(user, with_canary=False) == ("old", "spare")


def test_the_order_behind_a_split() -> None:
    route = Route("code", {"a": 1.0, "b": 1.0, "c": 0.0}, None, ("a", "spare"))
    orders = {route.order(user) for user in USERS[:100]}
    assert orders == {("a", "spare"), ("b", "a", "spare")}
