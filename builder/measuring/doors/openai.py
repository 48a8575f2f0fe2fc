"""Any OpenAI chat completions endpoint, streamed as server-sent events."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from builder.measuring import prompts
from builder.measuring.door import Answer, Heard
from builder.measuring.errors import Refused
from builder.measuring.events import Events, Status, error_of, events, require_no_error
from builder.measuring.task import Asking
from builder.prompt_lines import Prompt

SPOKEN = ("content", "reasoning_content", "reasoning", "tool_calls")
"""Where a delta may carry tokens."""
ENDED = re.compile(rb'\[DONE\]|"finish_reason":\s*"')
LAST = 8
"""How many of the last pieces to search for the end: a network may cut anywhere."""
_NO_ENDPOINT = (404, 405, 501)


def create(asking: Asking) -> OpenAiDoor:
    """Return the door to `asking.address`, the URL of the chat completions."""
    return OpenAiDoor(asking)


class OpenAiDoor:
    """See Door. Token counts are asked for until the server refuses the question."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._events = Events({"Accept": "text/event-stream", **asking.headers})
        self._counts = "stream_options" not in asking.fields

    async def ask(self, prompt: Prompt, heard: Heard) -> None:
        counts = self._counts
        try:
            await self._post(prompt, heard, counts)
        except Status as refusal:
            _require_endpoint(refusal, self._asking.address)
            if not counts or refusal.status not in (400, 422) or "stream_options" not in refusal.text:
                raise
            self._counts = False
            await self._post(prompt, heard, False)
        require_no_error(heard)
        if not ENDED.search(b"".join(arrived for _, arrived in heard[-LAST:])):
            raise Refused("the answer broke off: neither finish_reason nor [DONE] arrived")

    async def _post(self, prompt: Prompt, heard: Heard, counts: bool) -> None:
        body: dict[str, Any] = {
            "model": self._asking.model,
            "messages": prompts.as_messages(prompt),
            "stream": True,
            **({"stream_options": {"include_usage": True}} if counts else {}),
            **self._asking.fields,
        }
        await self._events.post(self._asking.address, json.dumps(body, ensure_ascii=False).encode(), heard)

    def read(self, heard: Heard) -> Answer:
        answer = Answer()
        try:
            _read(heard, answer)
        except (AttributeError, TypeError) as failure:
            answer.error = answer.error or f"an event that is none of a chat: {failure}"
        if not answer.tokens:
            answer.error = answer.error or "the answer ended without a single token"
        return answer

    async def close(self) -> None:
        await self._events.close()


def _read(heard: Heard, answer: Answer) -> None:
    usage: dict[str, Any] = {}
    finished = None
    for seconds, event in events(heard):
        if not isinstance(event, dict):
            continue
        answer.error = answer.error or error_of(event)
        usage = event.get("usage") or usage
        choices = event.get("choices") or ()
        if any(_speaks(choice.get("delta") or {}) for choice in choices):
            answer.seconds.append(seconds)
            answer.tokens.append(1.0)
        if any(choice.get("finish_reason") for choice in choices):
            finished = seconds
    answer.input_tokens = usage.get("prompt_tokens")
    total = usage.get("completion_tokens")
    if total and answer.tokens:
        # which delta held how many is not said
        answer.tokens = [total / len(answer.tokens)] * len(answer.tokens)
    elif total and finished is not None:
        # a model may end at once: its only token is the end
        answer.seconds, answer.tokens = [finished], [float(total)]


def _require_endpoint(refusal: Status, address: str) -> None:
    # a model that the endpoint does not know is a 404 too
    if refusal.status in _NO_ENDPOINT and "model" not in refusal.text.lower():
        parts = urlsplit(address)
        server = f"{parts.scheme}://{parts.netloc}"
        raise Refused(f"{server} has no {parts.path} endpoint (HTTP {refusal.status})") from None


def _speaks(delta: dict[str, Any]) -> bool:
    return any(delta.get(name) for name in SPOKEN)
