"""Triton's `generate_stream`: plain HTTP, server-sent events."""

from __future__ import annotations

import json
from urllib.parse import quote

from builder.measuring.door import Answer, Heard
from builder.measuring.events import Events, error_of, events, require_no_error
from builder.measuring.fields import filled
from builder.measuring.task import Asking
from builder.prompt_lines import Prompt


def create(asking: Asking) -> HttpDoor:
    """Return the door to `asking.address`, "host:port"."""
    return HttpDoor(asking)


class HttpDoor:
    """See Door."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._url = f"http://{asking.address}/v2/models/{quote(asking.model, safe='')}/generate_stream"
        self._events = Events(asking.headers)

    async def ask(self, prompt: Prompt, heard: Heard) -> None:
        body = json.dumps(filled(self._asking, prompt), ensure_ascii=False).encode()
        await self._events.post(self._url, body, heard)
        require_no_error(heard)

    def read(self, heard: Heard) -> Answer:
        answer, before = Answer(), 0
        for seconds, event in events(heard):
            if not isinstance(event, dict):
                continue
            answer.error = answer.error or error_of(event)
            answer.input_tokens = event.get("num_input_tokens", answer.input_tokens)
            if "num_output_tokens" in event:
                count = int(event["num_output_tokens"])
                tokens, before = count - before, count
            else:
                tokens = int(bool(event.get("text_output")))
            if tokens:
                answer.seconds.append(seconds)
                answer.tokens.append(tokens)
        return answer

    async def close(self) -> None:
        await self._events.close()
