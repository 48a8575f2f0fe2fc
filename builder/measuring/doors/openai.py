"""Any OpenAI chat completions endpoint, streamed as server-sent events."""

from __future__ import annotations

import json
import re
from typing import Any

from builder.measuring import prompts
from builder.measuring.door import Answer, Heard
from builder.measuring.errors import Refused
from builder.measuring.events import Events, Status, events, require_no_error
from builder.measuring.prompts import Prompt
from builder.measuring.task import Asking

SPOKEN = ("content", "reasoning_content", "reasoning", "tool_calls")
"""Where a delta may carry tokens."""
ENDED = re.compile(rb'\[DONE\]|"finish_reason":\s*"')
LAST = 8
"""How many of the last pieces to search for the end: a network may cut anywhere."""


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
        usage: dict[str, Any] = {}
        for seconds, event in events(heard):
            if not isinstance(event, dict):
                continue
            usage = event.get("usage") or usage
            if any(_speaks(choice.get("delta") or {}) for choice in event.get("choices") or ()):
                answer.seconds.append(seconds)
                answer.tokens.append(1.0)
        answer.input_tokens = usage.get("prompt_tokens")
        total = usage.get("completion_tokens")
        if total and answer.tokens:
            # which delta held how many is not said
            answer.tokens = [total / len(answer.tokens)] * len(answer.tokens)
        return answer

    async def close(self) -> None:
        await self._events.close()


def _speaks(delta: dict[str, Any]) -> bool:
    return any(delta.get(name) for name in SPOKEN)
