"""What a key is, what it may take, and the decision whether a request may be let in now."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from builder.gateway.keys import levels, times


@dataclass(frozen=True)
class Terms:
    """What a key may take; None is without a limit.

    `monthly_budget` is in millionths of the currency, `expires` in microseconds since 1970.
    """

    models: frozenset[str] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    monthly_budget: int | None = None
    expires: int | None = None


@dataclass(frozen=True)
class Key:
    """A key without its secret; `id` is the part of its text that may be shown."""

    id: str
    name: str
    terms: Terms
    created: int
    revoked: int | None = None

    @property
    def is_limited(self) -> bool:
        """Say whether letting a request in depends on those before it."""
        terms = self.terms
        limits = (terms.requests_per_minute, terms.tokens_per_minute, terms.monthly_budget)
        return any(limit is not None for limit in limits)

    def state(self, now: int) -> str:
        """Return "active", "expired" or "revoked"."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.terms.expires is not None and self.terms.expires <= now else "active"


class Reason(Enum):
    """Why a request is not let in."""

    NO_KEY = auto()
    WRONG_KEY = auto()
    ENDED = auto()
    """The key was right; it has expired or was revoked."""
    REQUESTS = auto()
    TOKENS = auto()
    BUDGET = auto()


@dataclass(frozen=True)
class Limit:
    """How a limit per minute stands: what is left, and in how many microseconds all of it will be there."""

    most: int
    left: int
    full_in: int


@dataclass(frozen=True)
class Standing:
    """How the limits of a key stand; None for those that it does not have."""

    requests: Limit | None = None
    tokens: Limit | None = None


class Refused(Exception):
    """A request that is not let in; `wait` is in how many microseconds another one would be."""

    def __init__(self, reason: Reason, text: str, *, wait: int = 0, standing: Standing | None = None) -> None:
        self.reason = reason
        self.text = text
        self.wait = wait
        self.standing = standing or Standing()
        super().__init__(text)


@dataclass(frozen=True)
class Account:
    """What a key has taken: its levels (millionths) at a time, and what it spent in that time's month."""

    requests: int
    tokens: int
    at: int
    spent: int


def let_in(key: Key, account: Account, now: int) -> tuple[Account, Standing]:
    """Return the account with one request more, and how the limits then stand. Raises Refused."""
    terms = key.terms
    account = fill(terms, account, now)
    if terms.monthly_budget is not None and account.spent >= terms.monthly_budget:
        ends = times.show(times.bounds(times.month(now))[1])
        text = f"the monthly budget of this key is spent: it is filled again at {ends}"
        raise Refused(Reason.BUDGET, text, standing=_standing(terms, account))
    for reason, per_minute, level in (
        (Reason.REQUESTS, terms.requests_per_minute, account.requests),
        (Reason.TOKENS, terms.tokens_per_minute, account.tokens),
    ):
        if per_minute is not None and level < levels.ONE:
            what = reason.name.lower()
            wait = levels.wait(level, levels.ONE, per_minute)
            text = (
                f"this key may take {per_minute} {what} per minute: try again in {wait / times.SECOND:.3g} s"
            )
            raise Refused(reason, text, wait=wait, standing=_standing(terms, account))
    taken = 0 if terms.requests_per_minute is None else levels.ONE
    account = Account(account.requests - taken, account.tokens, now, account.spent)
    return account, _standing(terms, account)


def fill(terms: Terms, account: Account, now: int) -> Account:
    """Return an account as it is now. A limit that a key does not have has no level either."""
    elapsed = now - account.at

    def filled(level: int, per_minute: int | None) -> int:
        return level if per_minute is None else levels.filled(level, per_minute, elapsed)

    requests = filled(account.requests, terms.requests_per_minute)
    return Account(requests, filled(account.tokens, terms.tokens_per_minute), now, account.spent)


def _standing(terms: Terms, account: Account) -> Standing:
    return Standing(
        _limit(terms.requests_per_minute, account.requests),
        _limit(terms.tokens_per_minute, account.tokens),
    )


def _limit(most: int | None, level: int) -> Limit | None:
    if most is None:
        return None
    left = max(0, level // levels.ONE)
    return Limit(most, left, levels.wait(level, most * levels.ONE, most))
