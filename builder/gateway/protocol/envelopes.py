"""What stands around every answer: ids, times, names, and the events of a stream with their common parts."""

from __future__ import annotations

import os
import time
from typing import Any

import orjson


class Envelope:
    """Of one answered request.

    Args:
        prefix: of its id, "chatcmpl" or "cmpl".
        kind: its `object`.
        tells_usage: whether a stream ends with the usage.
    """

    def __init__(self, prefix: str, kind: str, model: str, tells_usage: bool = False) -> None:
        self._head = {
            "id": f"{prefix}-{os.urandom(12).hex()}",
            "object": kind,
            "created": int(time.time()),
            "model": model,
        }
        self._tells_usage = tells_usage
        # an event is these two around its choices
        self._before = b"data: " + orjson.dumps(self._head)[:-1] + b',"choices":['
        self._after = b'],"usage":null}\n\n' if tells_usage else b"]}\n\n"

    def event(self, choice: dict[str, Any]) -> bytes:
        """Return the event of one choice."""
        return self._before + orjson.dumps(choice) + self._after

    def around_text(self, choice: dict[str, Any], mark: str) -> tuple[bytes, bytes]:
        """Return what goes before and behind the JSON of a text that stands in a choice where `mark` does."""
        before, after = self.event(choice).split(orjson.dumps(mark))
        return before, after

    def last(self, usage: dict[str, int]) -> bytes:
        """Return the event that tells the usage, if the client wants one."""
        if not self._tells_usage:
            return b""
        return b"data: " + orjson.dumps({**self._head, "choices": [], "usage": usage}) + b"\n\n"

    def whole(self, choices: list[dict[str, Any]], usage: dict[str, int]) -> bytes:
        """Return the body of an answer that is not streamed."""
        return orjson.dumps({**self._head, "choices": choices, "usage": usage})


MARK = "\ue000"
"""Stands for a text in a prepared event; whatever else stands there is ours or the model's name."""
