"""What /v1/responses answers: the response as one object, and as the events that build it up."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from builder.gateway.protocol.envelopes import MARK
from builder.gateway.protocol.errors import ApiError
from builder.gateway.triton.hearing import Piece

ECHOED = ("instructions", "max_output_tokens", "metadata", "temperature", "text", "top_p", "user")
"""What a response says of its request, as it was asked."""


class Writer:
    """The events of one response, or its whole.

    Args:
        echoed: of ECHOED what the client sent.
    """

    def __init__(self, model: str, echoed: Mapping[str, Any]) -> None:
        self._message = f"msg_{os.urandom(16).hex()}"
        self._head = {
            "id": f"resp_{os.urandom(16).hex()}",
            "object": "response",
            "created_at": int(time.time()),
            "model": model,
            "background": False,
            "error": None,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "tool_choice": "auto",
            "tools": [],
            "truncation": "disabled",
            **dict.fromkeys(ECHOED),
            "metadata": {},
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "top_p": 1.0,
            **echoed,
        }
        self._number = 0
        self._texts: list[str] = []
        self._reason = ""
        place = {"item_id": self._message, "output_index": 0, "content_index": 0}
        self._place = place
        delta = {"type": "response.output_text.delta", **place, "delta": MARK, "logprobs": []}
        # an event is these two around its text, and its number
        before, after = orjson.dumps(delta).split(orjson.dumps(MARK))
        self._before = b"event: response.output_text.delta\ndata: " + before
        self._after = after[:-1] + b',"sequence_number":'

    def event(self, answer: int, piece: Piece) -> bytes:
        """Return the events that a piece makes; those that open the response go before the first."""
        made = b"" if self._number else self._opening()
        if piece.text:
            self._texts.append(piece.text)
            made += b"%b%b%b%d}\n\n" % (self._before, orjson.dumps(piece.text), self._after, self._number)
            self._number += 1
        if piece.reason:
            self._reason = piece.reason
        return made

    def last(self, usage: dict[str, int]) -> bytes:
        """Return the events that close the response."""
        text, response = "".join(self._texts), self._response(usage)
        return b"".join(
            [
                self._event("output_text.done", **self._place, text=text, logprobs=[]),
                self._event("content_part.done", **self._place, part=_part(text)),
                self._event("output_item.done", output_index=0, item=response["output"][0]),
                self._event(response["status"], response=response),
            ]
        )

    def failed(self, error: ApiError) -> bytes:
        """Return an error as the last event."""
        told = {"code": error.code or error.kind, "message": error.message, "param": error.param}
        data = orjson.dumps({"type": "error", **told, "sequence_number": self._number})
        return b"event: error\ndata: " + data + b"\n\n"

    def whole(self, pieces: Sequence[Piece], usage: dict[str, int]) -> dict[str, Any]:
        """Return the response as one object."""
        self._texts = [piece.text for piece in pieces]
        self._reason = pieces[-1].reason
        return self._response(usage)

    def _opening(self) -> bytes:
        begun = {
            **self._head,
            "status": "in_progress",
            "incomplete_details": None,
            "output": [],
            "usage": None,
        }
        item = {**self._item([]), "status": "in_progress"}
        return b"".join(
            [
                self._event("created", response=begun),
                self._event("in_progress", response=begun),
                self._event("output_item.added", output_index=0, item=item),
                self._event("content_part.added", **self._place, part=_part("")),
            ]
        )

    def _event(self, name: str, **fields: Any) -> bytes:
        data = {"type": f"response.{name}", **fields, "sequence_number": self._number}
        self._number += 1
        return b"event: response.%b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))

    def _response(self, usage: Mapping[str, int]) -> dict[str, Any]:
        cut = {"reason": "max_output_tokens"} if self._reason == "length" else None
        return {
            **self._head,
            "status": self._status,
            "incomplete_details": cut,
            "output": [self._item([_part("".join(self._texts))])],
            "usage": {
                "input_tokens": usage["prompt_tokens"],
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": usage["completion_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage["total_tokens"],
            },
        }

    @property
    def _status(self) -> str:
        return "incomplete" if self._reason == "length" else "completed"

    def _item(self, content: list[Any]) -> dict[str, Any]:
        head = {"id": self._message, "type": "message", "status": self._status, "role": "assistant"}
        return {**head, "content": content}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
