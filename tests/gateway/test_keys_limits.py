"""Levels, months, money and the decision about one request, by numbers worked by hand and by properties."""

from __future__ import annotations

import ast
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import UsageError
from builder.gateway.keys import key as keys
from builder.gateway.keys import levels, money, prices, secret, times
from builder.gateway.keys.key import Account, Key, Reason, Refused, Terms
from builder.gateway.keys.prices import Price, Prices

NOW = times.of(datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC))
SECOND = times.SECOND


def made(**terms: int) -> Key:
    return Key("0" * 12, "tester", Terms(**terms), NOW)


def full(key: Key, at: int = NOW) -> Account:
    terms = key.terms
    most = [(limit or 0) * levels.ONE for limit in (terms.requests_per_minute, terms.tokens_per_minute)]
    return Account(*most, at, 0)


def test_a_minutes_requests_at_once_then_one_at_a_time() -> None:
    key = made(requests_per_minute=6)
    account = full(key)
    for left in (5, 4, 3, 2, 1, 0):
        account, standing = keys.let_in(key, account, NOW)
        assert standing.requests is not None and standing.tokens is None
        assert (standing.requests.most, standing.requests.left) == (6, left)
        assert standing.requests.full_in == (6 - left) * 10 * SECOND
    with pytest.raises(Refused) as refused:
        keys.let_in(key, account, NOW + 4 * SECOND)
    assert (refused.value.reason, refused.value.wait) == (Reason.REQUESTS, 6 * SECOND)
    account, _ = keys.let_in(key, account, NOW + 10 * SECOND)
    with pytest.raises(Refused):
        keys.let_in(key, account, NOW + 10 * SECOND)


def test_tokens_beyond_the_limit_are_waited_for() -> None:
    key = made(tokens_per_minute=60)
    in_debt = replace(full(key), tokens=-30 * levels.ONE)
    with pytest.raises(Refused) as refused:
        keys.let_in(key, in_debt, NOW)
    assert (refused.value.reason, refused.value.wait) == (Reason.TOKENS, 31 * SECOND)
    assert refused.value.standing.tokens is not None and refused.value.standing.tokens.left == 0
    keys.let_in(key, in_debt, NOW + 31 * SECOND)


@given(
    st.integers(1, 10**9),
    st.lists(st.tuples(st.integers(-(10**9), 10**9), st.booleans()), max_size=50),
)
def test_never_more_than_the_limit_and_what_was_refilled(
    per_minute: int, steps: list[tuple[int, bool]]
) -> None:
    """However the clock jumps: as many as were there at first and came while it went forward."""
    key = made(requests_per_minute=per_minute)
    account, now, admitted, forward = full(key), NOW, 0, 0
    for step, asks in steps:
        forward += max(0, now + step - account.at) if asks else 0
        now += step
        if asks:
            try:
                account, _ = keys.let_in(key, account, now)
                admitted += 1
            except Refused:
                account = keys.fill(key.terms, account, now)
            assert account.requests <= per_minute * levels.ONE
    assert admitted <= per_minute + per_minute * forward // (60 * SECOND) + 1


@given(st.integers(-(10**15), 10**15), st.integers(1, 10**9))
def test_the_wait_that_is_told_is_enough_and_not_too_long(level: int, per_minute: int) -> None:
    wait = levels.wait(level, levels.ONE, per_minute)
    assert min(per_minute * levels.ONE, level + per_minute * wait // 60) >= levels.ONE
    assert wait == 0 or level + per_minute * (wait - 1) // 60 < levels.ONE


def test_budget_is_told_before_the_limits_and_until_when() -> None:
    key = made(monthly_budget=5_000_000, requests_per_minute=1)
    spent = replace(full(key), spent=5_000_000, requests=0)
    with pytest.raises(Refused) as refused:
        keys.let_in(key, spent, NOW)
    assert refused.value.reason is Reason.BUDGET
    assert "2026-12-01T00:00:00Z" in refused.value.text
    assert keys.let_in(key, replace(full(key), spent=4_999_999), NOW)


@pytest.mark.parametrize(
    ("moment", "month"),
    [
        (datetime(2026, 11, 30, 23, 59, 59, 999_999, tzinfo=UTC), "2026-11"),
        (datetime(2026, 12, 1, tzinfo=UTC), "2026-12"),
        (datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "2026-12"),
        (datetime(2027, 1, 1, tzinfo=UTC), "2027-01"),
        (datetime(2028, 2, 29, 12, tzinfo=UTC), "2028-02"),
    ],
)
def test_a_month_is_that_of_its_bounds(moment: datetime, month: str) -> None:
    assert times.month(times.of(moment)) == month
    begin, end = times.bounds(month)
    assert begin <= times.of(moment) < end
    assert times.month(begin) == month != times.month(end)
    assert times.month(begin - 1) != month == times.month(end - 1)


def test_expired_at_the_moment_it_expires() -> None:
    key = made(expires=NOW)
    assert [key.state(NOW - 1), key.state(NOW), replace(key, revoked=1).state(NOW - 1)] == [
        "active",
        "expired",
        "revoked",
    ]


@given(st.integers(0, money.MOST * money.MICRO))
def test_amounts_are_read_as_they_are_shown(micro: int) -> None:
    assert money.amount(money.show(micro)) == micro


@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "inf", "0.0000001", "1000000000001", "1,5"])
def test_amounts_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="is expected"):
        money.amount(text)


def test_cost_is_rounded_up_to_a_millionth() -> None:
    price = Price(prompt=money.amount("0.15"), completion=money.amount("0.60"))
    assert price.of(0, 0) == 0
    assert price.of(1, 0) == 1
    assert price.of(1000, 500) == 150 + 300
    assert price.of(1_000_000, 1_000_000) == 750_000


def test_prices_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('[smollm2]\nprompt = 0.15\ncompletion = "0.60"\n["*"]\nprompt = 1\n')
    found = prices.read(file)
    assert found.of("smollm2") == Price(150_000, 600_000)
    assert found.of("another") == Price(1_000_000, 0)
    assert Prices().of("another") == Price(0, 0)


@pytest.mark.parametrize(
    "text",
    [
        "[a]\n",
        "[a]\nprice = 1\n",
        "[a]\nprompt = true\n",
        "[a]\nprompt = -1\n",
        "a = 1\n",
        "[a",
        "[a]\nprompt = []\n",
    ],
)
def test_prices_that_are_none(text: str, tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"prices\.toml"):
        prices.read(file)


def test_a_key_is_known_by_its_whole_text_only() -> None:
    number, text = secret.make()
    assert secret.number(text) == number
    assert secret.is_it(text, secret.digest(text))
    assert not secret.is_it(text, None)
    assert not secret.is_it(text[:-1] + ("0" if text[-1] != "0" else "1"), secret.digest(text))
    assert secret.stands_in(f"key={text}&x=1") and not secret.stands_in("key=abc")
    assert secret.make() != secret.make()


@given(st.text() | st.from_regex(r"bk_[0-9a-f]{12}_[0-9a-f]{64}\n?"))
def test_what_has_another_form_is_no_key(text: str) -> None:
    number = secret.number(text)
    assert (number is not None) == (
        len(text) == 80 and text.startswith("bk_") and text.isascii() and "\n" not in text
    )


def test_the_wall_around_the_keys() -> None:
    """They import nothing of the gateway but themselves, so that any protocol may stand before them."""
    for file in Path(keys.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("builder"):
                assert str(node.module).startswith(("builder.gateway.keys", "builder.errors")), file
            assert not isinstance(node, ast.Import) or {one.name for one in node.names} <= {
                *sys.stdlib_module_names,
                "psycopg",
            }
