"""The answer of one request, response by response."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from backends.engine.protocol import DeadlineExceeded, EngineError, InvalidRequest, Overloaded
from backends.front.generation import Chunk
from backends.front.outputs import Outputs
from backends.front.sending import Sending

_CODES: dict[type[Exception], str] = {
    InvalidRequest: "INVALID_ARG",
    Overloaded: "UNAVAILABLE",
    DeadlineExceeded: "UNAVAILABLE",
}


class Answer:
    """The responses of one request: whatever happens, Triton gets exactly one final flag."""

    def __init__(
        self, utilities: Any, sender: Any, sending: Sending, outputs: Outputs, number: int, arrived: float
    ) -> None:
        """`utilities` is Triton's module for Python models, `arrived` a moment of time.monotonic()."""
        self._utilities = utilities
        self._sender = sender
        self._sending = sending
        self._outputs = outputs
        self._number = number
        self._error: Exception | None = None
        self.name = f"{number}"
        self.arrived = arrived

    def is_cancelled(self) -> bool:
        """Ask Triton whether the client has gone."""
        return bool(self._sender.is_cancelled())

    def send(self, chunk: Chunk, input_tokens: int, scores: Sequence[float]) -> None:
        """Send a response soon; raise what became of an earlier one."""
        if self._error:
            raise self._error
        self._put(self._respond, chunk, input_tokens, scores)

    def end(self) -> None:
        """Say that nothing follows."""
        self._put(self._finish)

    def fail(self, error: Exception) -> None:
        """End it with an error."""
        self._put(send_error, self._utilities, self._sender, error)

    def _respond(self, chunk: Chunk, input_tokens: int, scores: Sequence[float]) -> None:
        # made by the thread that sends: while it waits for Triton the others make theirs
        tensors = self._outputs.of(chunk, input_tokens, scores)
        self._sender.send(self._utilities.InferenceResponse(output_tensors=tensors))

    def _finish(self) -> None:
        self._sender.send(flags=self._utilities.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _put(self, call: Callable[..., None], *arguments: Any) -> None:
        self._sending.put(self._number, partial(self._make, call, *arguments))

    def _make(self, call: Callable[..., None], *arguments: Any) -> None:
        """Make a call; when it fails that is the answer's end, and nothing may follow."""
        if self._error:
            return
        try:
            call(*arguments)
        except Exception as error:
            self._error = error
            with suppress(Exception):
                send_error(self._utilities, self._sender, error)


def send_error(utilities: Any, sender: Any, error: Exception) -> None:
    """Answer a request with an error, and nothing after it."""
    code = getattr(utilities.TritonError, _CODES.get(type(error), "INTERNAL"))
    text = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
    response = utilities.InferenceResponse(error=utilities.TritonError(text, code))
    sender.send(response, flags=utilities.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
