"""What chat and completions share: the front asked for answers, and heard until all of them have ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from builder.gateway import notes
from builder.gateway.door import Door
from builder.gateway.protocol import errors
from builder.gateway.protocol.errors import ApiError
from builder.gateway.protocol.usage import Usage
from builder.gateway.triton import asking, failures, hearing, tokens
from builder.gateway.triton.failures import Failure, Kind
from builder.gateway.triton.hearing import Hearing, Piece
from builder.gateway.triton.inbox import Inbox
from builder.gateway.triton.served import Served


@dataclass(frozen=True)
class Asked:
    """What a client wants of a front.

    Args:
        prompts: for each prompt the inputs that hold it.
        inputs: the other inputs, which all prompts share.
        sequences: how many answers to each prompt.
        tops: how many of the likeliest tokens to tell at each place; None without log probabilities.
        seconds: within which the answer is wanted, None for the front's own deadline.
        names: input -> the parameter of this endpoint that it is made of.
    """

    model: Served
    prompts: Sequence[Mapping[str, Any]]
    inputs: Mapping[str, Any]
    sequences: int
    stream: bool
    tops: int | None
    seconds: float | None
    names: Mapping[str, str]
    echoes: Sequence[str] = field(default=())
    """What stands before the answers to each prompt, if anything does."""
    reasons: bool = False
    """Whether to ask for what the model thought before its answer."""

    @property
    def answers(self) -> int:
        """Return how many answers there will be."""
        return len(self.prompts) * self.sequences


Told = list[tuple[int, Piece]]
"""(which answer, what it goes on with)."""


class Generation:
    """Answers under way; `usage` counts what was heard of them."""

    def __init__(self, door: Door, asked: Asked) -> None:
        """Ask; raises ApiError where the model does not take what was asked."""
        self._door = door
        self._asked = asked
        self._ended: set[int] = set()
        self.usage = Usage()
        notes.current().usage = self.usage
        try:
            requests = [self._request(prompt) for prompt in asked.prompts]
        except Failure as failure:
            raise errors.of_failure(failure, asked.names) from failure
        begins = [partial(Hearing, door.connection, request) for request in requests]
        self._inbox = Inbox(begins, door.settings.keep_alive_seconds)

    async def take(self) -> Told | None:
        """Return the next pieces, none when it was silent for long, None after the last or after `cancel`.

        Raises ApiError.
        """
        try:
            pieces = await self._inbox.take()
            if pieces is None:
                self._require_ends()
                return None
            if self._asked.tops is not None:
                await self._learn([piece for _, piece in pieces])
        except Failure as failure:
            raise self._door.refused(failure, self._asked.names) from failure
        return [self._told(prompt, piece) for prompt, piece in pieces]

    async def whole(self) -> list[list[Piece]] | None:
        """Return all pieces of each answer; None when it was cancelled. Raises ApiError."""
        answers: list[list[Piece]] = [[] for _ in range(self._asked.answers)]
        while (told := await self.take()) is not None:
            for answer, piece in told:
                answers[answer].append(piece)
        return None if self.is_cancelled else answers

    @property
    def is_cancelled(self) -> bool:
        """Say whether the client has left."""
        return self._inbox.is_cancelled

    def cancel(self) -> None:
        """Stop everything at once; what was heard and not yet taken is counted too."""
        self._inbox.cancel()
        for prompt, piece in self._inbox.left():
            self.usage.note(prompt, piece)

    def _request(self, prompt: Mapping[str, Any]) -> Any:
        asked = self._asked
        inputs = {**prompt, **asked.inputs, "stream": asked.stream}
        # a stream's tokens are counted too, whether its client asks for them or not
        outputs = [*hearing.TEXT, *hearing.COUNTS]
        if asked.sequences > 1:
            inputs["num_return_sequences"] = asked.sequences
            outputs += hearing.SEQUENCE
        if asked.reasons:
            outputs += hearing.REASONING
        if asked.tops is not None:
            inputs["return_log_probs"] = True
            outputs += hearing.LOG_PROBS
        if asked.tops:
            inputs["top_logprobs"] = asked.tops
            outputs += hearing.TOPS
        tensors = asking.tensors(asked.model, inputs)
        return asking.request(asked.model.name, tensors, outputs, asked.seconds)

    def _told(self, prompt: int, piece: Piece) -> tuple[int, Piece]:
        self.usage.note(prompt, piece)
        answer = prompt * self._asked.sequences + piece.sequence
        if piece.reason:
            if piece.reason == "cancelled":
                raise errors.of_failure(Failure(Kind.UNAVAILABLE, failures.CUT), {})
            self._ended.add(answer)
        return answer, piece

    def _require_ends(self) -> None:
        if not self.is_cancelled and len(self._ended) < self._asked.answers:
            raise Failure(Kind.UNAVAILABLE, failures.CUT)

    async def _learn(self, pieces: Sequence[Piece]) -> None:
        ids = {one for piece in pieces for one in piece.ids}
        for piece in pieces:
            if piece.tops is not None:
                ids.update(piece.tops[0].reshape(-1).tolist())
        await tokens.texts(self._door.connection, self._asked.model, ids)


def start(door: Door, asked: Asked) -> Generation:
    """Return the answers under way. Raises ApiError."""
    if asked.answers > MOST_ANSWERS:
        message = f"{asked.answers} answers are asked for, at most {MOST_ANSWERS} are given to one request"
        raise ApiError(400, message, param="n" if asked.sequences > 1 else "prompt", code="invalid_value")
    return Generation(door, asked)


MOST_ANSWERS = 256
"""Of one request: each takes a place in the engine or in its line."""
