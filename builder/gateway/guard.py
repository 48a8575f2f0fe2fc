"""Between the network and everything else, when keys are on: only /health and a page's files need none."""

from __future__ import annotations

import logging
from contextlib import suppress
from urllib.parse import unquote_plus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from builder.errors import KeysError
from builder.gateway import notes, refusals
from builder.gateway.accounted import Accounted
from builder.gateway.keys import clerk, secret
from builder.gateway.keys.clerk import Clerk
from builder.gateway.keys.key import Reason, Refused
from builder.gateway.keys.prices import Prices
from builder.gateway.page import serving as page
from builder.gateway.protocol import health
from builder.gateway.protocol.sse import error_response

_LOG = logging.getLogger(__name__)


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
        if scope["type"] == "lifespan" or _is_open(scope):
            await self._app(scope, receive, send)
            return
        asks = scope["method"] == "POST"
        begun = clerk.clock()
        try:
            admission = await self._clerk.let_in(_key(scope), counts=asks)
        except Refused as refused:
            response = error_response(refusals.error(refused))
            response.headers.update(refusals.headers(refused))
            await response(scope, receive, send)
            return
        except KeysError as error:
            _LOG.error("%s", error.found)
            await error_response(refusals.unavailable())(scope, receive, send)
            return
        noted = notes.current()
        noted.key, noted.models = admission.key.id, admission.key.terms.models
        if asks:
            await self._account(
                Accounted(self._clerk, self._prices, admission, noted, begun, send), scope, receive
            )
        else:
            await self._app(scope, receive, send)

    async def _account(self, request: Accounted, scope: Scope, receive: Receive) -> None:
        try:
            await self._app(scope, receive, request.send)
        except Exception:
            request.status = 500
            raise
        finally:
            with suppress(KeysError):
                await request.settle()


def _is_open(scope: Scope) -> bool:
    """Say whether nobody needs a key: to see that the gateway lives, and for the page's files.

    These are the same for everybody and tell nothing; a browser must have them before it can send a key.
    """
    return scope["path"] == health.PATH or (scope["method"] in ("GET", "HEAD") and page.holds(scope["path"]))


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
