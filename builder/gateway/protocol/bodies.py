"""Bodies of requests: read within limits, parsed strictly, every parameter accounted for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from starlette.requests import ClientDisconnect, Request

from builder.gateway import notes
from builder.gateway.protocol.errors import ApiError, invalid, unsupported


async def read(request: Request, most_bytes: int) -> Body:
    """Return the body of a request, a JSON object. Raises ApiError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # a page in a browser may send anything else to a server on this machine without asking it first
        raise ApiError(415, f"content-type is '{kind}', application/json is expected")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        # a few bytes may hold gigabytes
        raise ApiError(415, f"content-encoding is '{_short(coding)}', the body must be sent as it is")
    try:
        data = await _bytes(request, most_bytes)
    except ClientDisconnect:
        raise ApiError(400, "the client went away before its body ended") from None
    values = parse(data)
    notes.current().user = _user(values)
    return Body(values)


def _user(values: dict[str, Any]) -> str:
    """Return for whom a client asks, by OpenAI's newer name for it or the older; "" where it does not say."""
    told = [values.get(name) for name in ("safety_identifier", "user")]
    return next((one for one in told if isinstance(one, str)), "")


async def _bytes(request: Request, most: int) -> bytes:
    too_large = ApiError(413, f"the body is too large: at most {most} bytes are taken", code="too_large")
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > most:
        raise too_large
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > most:
            raise too_large
    return bytes(data)


def parse(data: bytes) -> dict[str, Any]:
    """Return the JSON object that UTF-8 bytes hold. Raises ApiError."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the body is not valid UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply") from None
    except ValueError as error:
        raise ApiError(400, f"the body is not valid JSON: {_short(str(error))}") from None
    if not isinstance(value, dict):
        raise ApiError(400, f"the body is a JSON {_kind(value)}, an object is expected")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ApiError(400, f"'{_short(twice)}' is given twice in one object", param=_short(twice))
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number in JSON")


def _short(text: str) -> str:
    return (text if len(text) <= 80 else f"{text[:80]}...").encode("utf-8", "replace").decode()


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "number", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "null")


class Body:
    """The parameters of one request, each taken once; null is the same as absent.

    What is taken with a wrong kind or out of range raises ApiError that names it.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = {name: value for name, value in values.items() if value is not None}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def take(self, name: str, *kinds: type) -> Any:
        """Return a value of one of these kinds, None when it was not given."""
        value = self._values.pop(name, None)
        if value is None or type(value) in kinds:
            return value
        wanted = " or ".join(dict.fromkeys(_NAMES[kind] for kind in kinds))
        kind = _NAMES.get(type(value), "null")
        raise invalid(name, f"'{name}' is {kind}, {wanted} is expected", "invalid_type")

    def peek(self, name: str) -> Any:
        """Return a value of any kind, None when it was not given, and leave it to be taken."""
        return self._values.get(name)

    def need(self, name: str, *kinds: type) -> Any:
        """Return a value that must be there."""
        value = self.take(name, *kinds)
        if value is None:
            raise invalid(name, f"'{name}' is missing", "missing_required_parameter")
        return value

    def model(self) -> str:
        """Return the name of the model that is asked."""
        return clean("model", self.need("model", str))

    def text(self, name: str) -> str | None:
        """Return a text, None when it was not given."""
        value = self.take(name, str)
        return None if value is None else clean(name, value)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a truth value."""
        value = self.take(name, bool)
        return default if value is None else bool(value)

    def whole(self, name: str, lowest: int, highest: int) -> int | None:
        """Return a whole number within its range, None when it was not given."""
        value = self.take(name, int)
        return None if value is None else int(within(name, value, lowest, highest))

    def number(self, name: str, lowest: float, highest: float) -> float | None:
        """Return a number within its range, None when it was not given."""
        value = self.take(name, int, float)
        return None if value is None else float(within(name, value, lowest, highest))

    def ignore(self, names: Iterable[str]) -> None:
        """Take what is accepted and has no effect here."""
        for name in names:
            self._values.pop(name, None)

    def end(self) -> None:
        """Refuse what nobody took."""
        for name in self._values:
            raise unsupported(clean_name(name))


_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "a boolean", list: "an array"} | {
    dict: "an object"
}


def within(name: str, value: float, lowest: float, highest: float) -> float:
    """Return a number that is within its range."""
    if not lowest <= value <= highest:
        message = f"'{name}' is {_number(value)}, it must be {_number(lowest)} to {_number(highest)}"
        raise invalid(name, message, "invalid_value")
    return value


def _number(value: float) -> str:
    return f"{value:.10g}" if isinstance(value, float) else _short(str(value))


def shown(value: Any) -> str:
    """Return a value as JSON for an error's text, cut where it is long."""
    return _short(json.dumps(value))


def clean(name: str, text: str) -> str:
    """Return a text that is Unicode: JSON may hold halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise invalid(name, f"'{name}' holds half of a surrogate pair, which is no character") from None
    return text


def clean_name(name: str) -> str:
    """Return a parameter's name for an error's text."""
    return _short(name)
