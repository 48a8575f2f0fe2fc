"""Chat: hold a conversation with a front over gRPC, and remember what was said.

The front renders `messages` with the model's own chat template; here they are only kept.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from builder.errors import ChatError
from builder.triton_client import Client, GrpcStream, Reply, Silence, TritonError

SECONDS_BETWEEN_LOOKS = 0.1
"""How often an answer that says nothing is asked whether the user wants it to stop."""

# How the front words that a prompt is too long, alone or with max_tokens: backends/front/request.py
_TOO_LONG = re.compile(r"prompt has (\d+) tokens(?: and max_tokens is (\d+))?, the context holds (\d+)")

Hear = Callable[[str, str], None]


class Refused(ChatError):
    """The server refused one message; the conversation is as it was before."""


@dataclass(frozen=True)
class Settings:
    """What every request carries; None leaves it to the front."""

    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None

    def inputs(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass
class Answer:
    """What came back; times are seconds since the request was sent.

    `finish_reason` is the front's: stop, length or cancelled. `first_seconds` and `first_tokens` are those
    of the first response that holds a token, None and 0 when there was none.
    """

    text: str = ""
    reasoning: str = ""
    finish_reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    first_seconds: float | None = None
    first_tokens: int = 0

    @property
    def tokens_per_second(self) -> float | None:
        """Return the pace after the first response, None when nothing came after it."""
        later = self.output_tokens - self.first_tokens
        if self.first_seconds is None or later < 1 or self.seconds <= self.first_seconds:
            return None
        return later / (self.seconds - self.first_seconds)

    def add(self, reply: Reply, seconds: float) -> None:
        self.text += reply.text
        self.reasoning += _text(reply, "reasoning_output")
        self.finish_reason = str(reply.one("finish_reason"))
        self.input_tokens = int(reply.one("num_input_tokens"))
        self.output_tokens = int(reply.one("num_output_tokens"))
        self.seconds = seconds
        if self.first_seconds is None and self.output_tokens:
            self.first_seconds, self.first_tokens = seconds, self.output_tokens


class Conversation:
    """A system prompt, the turns so far, and the front that continues them.

    Args:
        client: knows the config of the front, for the types of its inputs.
        front: the model to talk to.
        remedy: what to do when the server has gone away.
    """

    def __init__(
        self, client: Client, front: str, settings: Settings, *, system: str = "", remedy: str = ""
    ) -> None:
        self.front = front
        self.settings = settings
        self.system = system
        self.turns: list[dict[str, str]] = []
        self._client = client
        self._remedy = remedy

    def reset(self) -> None:
        """Forget every turn; the system prompt stays."""
        self.turns.clear()

    def ask(self, text: str, hear: Hear, stopped: Callable[[], bool] = lambda: False) -> Answer:
        """Send one message of the user and return the whole answer.

        Args:
            hear: called with each piece of the answer and of the reasoning as it comes.
            stopped: asked all the time; once it is true the request is cancelled on the server, and
                what had come of the answer is kept.

        Raises:
            Refused: the server said no; message and answer are not kept.
            ChatError: the server went away.
        """
        from tritonclient.utils import InferenceServerException

        asked = {"role": "user", "content": text}
        system = [{"role": "system", "content": self.system}] if self.system else []
        inputs = {
            "messages": json.dumps([*system, *self.turns, asked]),
            "stream": True,
            **self.settings.inputs(),
        }
        answer = Answer()
        try:
            with self._client.open() as stream:
                started = time.monotonic()
                self._client.request(stream, self.front, inputs)
                self._listen(stream, answer, started, hear, stopped)
        except TritonError as error:
            raise self._failure(str(error)) from error
        except InferenceServerException as error:
            raise self._failure("the connection broke before the message was sent") from error
        if answer.text or answer.finish_reason != "cancelled":
            # without its reasoning, which models are trained not to see again
            self.turns += [asked, {"role": "assistant", "content": answer.text}]
        return answer

    def _listen(
        self, stream: GrpcStream, answer: Answer, started: float, hear: Hear, stopped: Callable[[], bool]
    ) -> None:
        ended = False
        while not ended:
            if stopped():
                answer.finish_reason = "cancelled"
                return  # leaving the stream cancels its request
            try:
                _, reply, ended = stream.receive(SECONDS_BETWEEN_LOOKS)
            except Silence:
                continue
            if reply is not None:
                answer.add(reply, time.monotonic() - started)
                hear(reply.text, _text(reply, "reasoning_output"))
        stream.finish()

    def _failure(self, said: str) -> ChatError:
        if not self._client.alive("grpc"):
            return ChatError(
                f"the server at grpc://{self._client.grpc} went away: {said}", remedy=self._remedy
            )
        too_long = _TOO_LONG.search(said)
        if too_long is None:
            return Refused(said)
        prompt, wanted, context = too_long.groups()
        room = f" and the answer may have {wanted}" if wanted else ""
        what = "conversation" if self.turns else "message"
        ways = ["begin anew with /reset"] if self.turns else ["shorten it"]
        return Refused(
            f"the {what} has {prompt} tokens{room}, the context holds {context}: the message was not kept",
            remedy=" or ".join([*ways, *(["ask for fewer with --max-tokens"] if wanted else [])]),
        )


def _text(reply: Reply, name: str) -> str:
    """Return an output that not every front has."""
    return str((reply.outputs.get(name) or [""])[0])
