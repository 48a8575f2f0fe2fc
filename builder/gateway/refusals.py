"""What keys refuse and how their limits stand, in the words and headers of OpenAI."""

from __future__ import annotations

import math

from builder.gateway.keys import times
from builder.gateway.keys.key import Limit, Reason, Refused, Standing
from builder.gateway.protocol import errors
from builder.gateway.protocol.errors import ApiError

_NO_KEY = {"www-authenticate": "Bearer"}
_HEADERS: dict[Reason, dict[str, str]] = {
    Reason.REQUESTS: {},
    Reason.TOKENS: {},
    # OpenAI's clients heed it: the same request would be refused for the rest of the month
    Reason.BUDGET: {"x-should-retry": "false"},
}


def error(refused: Refused) -> ApiError:
    """Return what a client is told, in the words of OpenAI (platform.openai.com/docs/guides/error-codes)."""
    text = refused.text
    match refused.reason:
        case Reason.BUDGET:
            return ApiError(429, text, kind="insufficient_quota", code="insufficient_quota")
        case Reason.REQUESTS | Reason.TOKENS:
            kind = refused.reason.name.lower()
            seconds = max(1, math.ceil(refused.wait / times.SECOND))
            return ApiError(429, text, kind=kind, code="rate_limit_exceeded", retry_after=seconds)
    return ApiError(401, text, code=None if refused.reason is Reason.NO_KEY else "invalid_api_key")


def headers(refused: Refused) -> dict[str, str]:
    """Return the headers that go with it, beside those of the error."""
    return standing(refused.standing) | _HEADERS.get(refused.reason, _NO_KEY)


def standing(found: Standing) -> dict[str, str]:
    """Return the headers that tell how the limits stand (platform.openai.com/docs/guides/rate-limits)."""
    return _limit("requests", found.requests) | _limit("tokens", found.tokens)


def _limit(name: str, limit: Limit | None) -> dict[str, str]:
    if limit is None:
        return {}
    told = {"limit": str(limit.most), "remaining": str(limit.left), "reset": _duration(limit.full_in)}
    return {f"x-ratelimit-{what}-{name}": value for what, value in told.items()}


def _duration(micro: int) -> str:
    """Return a time as OpenAI writes it: 12ms, 3s, 6m0s."""
    if micro < times.SECOND:
        return f"{math.ceil(micro / 1000)}ms"
    minutes, seconds = divmod(math.ceil(micro / times.SECOND), 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def unavailable() -> ApiError:
    """Return the error of a request that cannot be accounted for."""
    message = "the accounts of this gateway cannot be kept: its log says why"
    return ApiError(503, message, kind=errors.SERVER, code="unavailable", retry_after=1)
