"""Between the network and everything else, when keys are on: nothing but /health answers without one."""

from __future__ import annotations

import logging
import math
import os
from contextlib import suppress
from urllib.parse import unquote_plus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from builder.errors import KeysError
from builder.gateway import caller
from builder.gateway.caller import Caller
from builder.gateway.keys import clerk, secret, times
from builder.gateway.keys.clerk import Admission, Clerk
from builder.gateway.keys.key import Limit, Reason, Refused, Standing
from builder.gateway.keys.ledger import Entry
from builder.gateway.keys.prices import Prices
from builder.gateway.protocol import errors, health
from builder.gateway.protocol.errors import ApiError
from builder.gateway.protocol.sse import WRITE, error_response

GONE = 499
"""The status of an answer that nobody waited for, as nginx has it."""


_LOG = logging.getLogger(__name__)
_NO_KEY = {"www-authenticate": "Bearer"}
_OF_REFUSALS: dict[Reason, dict[str, str]] = {
    Reason.REQUESTS: {},
    Reason.TOKENS: {},
    # OpenAI's clients heed it: the same request would be refused for the rest of the month
    Reason.BUDGET: {"x-should-retry": "false"},
}


class Guarded:
    """An ASGI application that lets requests with a key into another one, and accounts for those that ask.

    Looking (GET) needs a key and takes nothing; each POST is a row of the accounts.
    """

    def __init__(self, app: ASGIApp, books: Clerk, prices: Prices) -> None:
        self._app = app
        self._clerk = books
        self._prices = prices

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan" or scope.get("path") == health.PATH:
            await self._app(scope, receive, send)
            return
        asks = scope["method"] == "POST"
        begun = clerk.clock()
        try:
            admission = await self._clerk.let_in(_key(scope), counts=asks)
        except Refused as refused:
            response = error_response(_of_refusal(refused))
            response.headers.update(_headers(refused.standing) | _OF_REFUSALS.get(refused.reason, _NO_KEY))
            await response(scope, receive, send)
            return
        except KeysError as error:
            _LOG.error("%s", error.found)
            await error_response(_unavailable())(scope, receive, send)
            return
        who = Caller(admission.key.terms.models)
        caller.enter(who)
        if asks:
            await self._account(
                _Request(self._clerk, self._prices, admission, who, begun, send), scope, receive
            )
        else:
            await self._app(scope, receive, send)

    async def _account(self, request: _Request, scope: Scope, receive: Receive) -> None:
        scope[WRITE] = request.write
        try:
            await self._app(scope, receive, request.send)
        except Exception:
            request.status = 500
            raise
        finally:
            with suppress(KeysError):
                await request.settle()


class _Request:
    """One that is answered: written down before the last byte of its answer is sent."""

    def __init__(
        self, books: Clerk, prices: Prices, admission: Admission, who: Caller, begun: int, send: Send
    ) -> None:
        self._clerk = books
        self._prices = prices
        self._key = admission.key
        self._who = who
        self._begun = begun
        self._id = os.urandom(16).hex()
        told = _headers(admission.standing) | {"x-request-id": self._id}
        self._headers = [(name.encode(), value.encode()) for name, value in told.items()]
        self.write = send
        self._start: Message | None = None
        self._is_stream = False
        self._settled = False
        self.status = GONE

    async def send(self, message: Message) -> None:
        """Send the beginning, the end, or the whole of the answer."""
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif message.get("more_body"):
            await self.write(message)
        else:
            await self._end(message)

    async def _begin(self, message: Message) -> None:
        message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
        names = {name.lower() for name, _ in message["headers"]}
        # an answer of a known length may still become an error
        self._is_stream = b"content-length" not in names
        self._start = message
        if self._is_stream:
            await self.write(message)

    async def _end(self, message: Message) -> None:
        assert self._start is not None
        self.status = self._start["status"]
        try:
            await self.settle()
        except KeysError as error:
            _LOG.error("%s", error.found)
            await self._fail()
            return
        if not self._is_stream:
            await self.write(self._start)
        await self.write(message)

    async def _fail(self) -> None:
        """Say that the answer could not be written down, so that nobody takes it for accounted."""
        if self._is_stream:
            await self.write({"type": "http.response.body", "body": errors.event(_unavailable())})
            return
        error = _unavailable()
        headers = {**error.headers(), "content-type": "application/json"}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.write({"type": "http.response.start", "status": error.status, "headers": encoded})
        await self.write({"type": "http.response.body", "body": error.body()})

    async def settle(self) -> None:
        """Write down what the request took, once. Raises KeysError."""
        if self._settled:
            return
        self._settled = True
        await self._clerk.write(self._key, self._entry())

    def _entry(self) -> Entry:
        told = self._who.usage.told() if self._who.usage is not None else {}
        tokens = (told.get("prompt_tokens", 0), told.get("completion_tokens", 0))
        return Entry(
            id=self._id,
            key=self._key.id,
            model=self._who.model,
            prompt_tokens=tokens[0],
            completion_tokens=tokens[1],
            cost=self._prices.of(self._who.model).of(*tokens),
            status=self._who.failed or self.status,
            at=self._begun,
            duration=max(0, clerk.clock() - self._begun),
        )


def _key(scope: Scope) -> str:
    """Return the key that a request came with, "" for none. Raises Refused."""
    address = scope["path"] + "?" + unquote_plus(scope["query_string"].decode("latin-1"))
    if secret.stands_in(address):
        text = "an API key stands in the address, which logs keep: revoke it, and send keys in Authorization"
        raise Refused(Reason.NO_KEY, text)
    given = Headers(scope=scope).getlist("authorization")
    if len(given) > 1:
        raise Refused(Reason.NO_KEY, "the header Authorization is there more than once")
    scheme, _, text = given[0].partition(" ") if given else ("", "", "")
    return text.strip() if scheme.lower() == "bearer" else ""


def _of_refusal(refused: Refused) -> ApiError:
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


def _headers(standing: Standing) -> dict[str, str]:
    """Return the headers that tell how the limits stand (platform.openai.com/docs/guides/rate-limits)."""
    return _limit("requests", standing.requests) | _limit("tokens", standing.tokens)


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


def _unavailable() -> ApiError:
    message = "the accounts of this gateway cannot be kept: its log says why"
    return ApiError(503, message, kind=errors.SERVER, code="unavailable", retry_after=1)
