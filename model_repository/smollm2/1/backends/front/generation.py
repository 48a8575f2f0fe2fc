"""One sequence from engine steps to what a client reads: decoded, stopped, split, counted."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import NamedTuple

from backends.engine.protocol import Step, Top
from backends.front.reasoning import Splitter
from backends.front.request import Request
from backends.front.timings import Stopwatch
from backends.text.decoding import CONTEXT_IDS, Decoder, Vocabulary
from backends.text.stopping import Stopper


class Chunk(NamedTuple):
    """What one response says; `finish_reason` is "" until the last of its sequence.

    `log_probs` and `tops` have an entry for each id, or none where they were not asked for. `output_tokens`
    and `cumulative` count from the sequence's start; `context_ids` are the ids right before `ids`.
    """

    text: str
    reasoning: str
    ids: tuple[int, ...]
    context_ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    cumulative: float
    output_tokens: int
    sequence: int
    finish_reason: str
    tops: tuple[Top, ...] = ()


async def generate(
    steps: AsyncIterator[Step],
    request: Request,
    sequence: int,
    vocabulary: Vocabulary,
    reasoning: Mapping[str, str] | None,
    stopwatch: Stopwatch,
) -> AsyncGenerator[Chunk]:
    """Yield a chunk per step of an engine, then end; leaving early stops it.

    A stop string ends the sequence at once: its text is cut before it, its ids end with the token
    that completed it.
    """
    writer = _Writer(request, sequence, vocabulary, reasoning)
    async with aclosing(steps) as made:  # type: ignore[type-var]
        async for step in made:
            stopwatch.note(time.monotonic(), len(step.ids), step.waited)
            chunk = writer.write(step)
            yield chunk
            if chunk.finish_reason:
                return


class _Writer:
    """The state of one sequence's text."""

    def __init__(
        self, request: Request, sequence: int, vocabulary: Vocabulary, reasoning: Mapping[str, str] | None
    ) -> None:
        self._decoder = Decoder(vocabulary)
        self._stopper = Stopper(request.stops)
        self._splitter = Splitter(reasoning)
        self._sequence = sequence
        self._echo = request.prompt_text if request.echo else ""
        self._context: tuple[int, ...] = ()
        self._tokens = 0
        self._cumulative = 0.0

    def write(self, step: Step) -> Chunk:
        step, shown, stopped = self._read(step)
        reason = "stop" if stopped else step.finish_reason or ""
        if reason and not stopped:
            shown += self._stopper.flush()
        text, thought = self._splitter.push(shown)
        if reason:
            rest, thought_rest = self._splitter.flush()
            text, thought = text + rest, thought + thought_rest
        self._tokens += len(step.ids)
        self._cumulative += sum(step.log_probs)
        context, self._context = self._context, (*self._context, *step.ids)[-CONTEXT_IDS:]
        echo, self._echo = self._echo, ""
        return Chunk(
            text=echo + text,
            reasoning=thought,
            ids=step.ids,
            context_ids=context,
            log_probs=step.log_probs,
            cumulative=self._cumulative,
            output_tokens=self._tokens,
            sequence=self._sequence,
            finish_reason=reason,
            tops=step.tops,
        )

    def _read(self, step: Step) -> tuple[Step, str, bool]:
        """Return the step up to the token that completes a stop string, its text, and whether one did.

        Token by token: how many of them a step holds depends on how busy the server is.
        """
        if not self._stopper.looks:
            return step, self._decoder.push(step.ids), False
        shown = ""
        for end, token in enumerate(step.ids, 1):
            text, stopped = self._stopper.push(self._decoder.push((token,)))
            shown += text
            if stopped:
                return Step(step.ids[:end], step.log_probs[:end], tops=step.tops[:end]), shown, True
        return step, shown, False


def join(chunks: list[Chunk]) -> Chunk:
    """Return the chunks of one sequence, in order, as the single answer of a client that does not stream."""
    last = chunks[-1]
    return Chunk(
        text="".join(chunk.text for chunk in chunks),
        reasoning="".join(chunk.reasoning for chunk in chunks),
        ids=tuple(token for chunk in chunks for token in chunk.ids),
        context_ids=chunks[0].context_ids,
        log_probs=tuple(value for chunk in chunks for value in chunk.log_probs),
        cumulative=last.cumulative,
        output_tokens=last.output_tokens,
        sequence=last.sequence,
        finish_reason=last.finish_reason,
        tops=tuple(top for chunk in chunks for top in chunk.tops),
    )
