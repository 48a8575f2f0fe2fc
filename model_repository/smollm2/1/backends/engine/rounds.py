"""Sequences in the rows of a model, all of which one step advances: they come and go between steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backends.engine.guided import Guided
from backends.engine.protocol import Sampling, Step
from backends.engine.rows import Interrupted, Logits, Rows
from backends.engine.sampling import Sampler, log_probability
from backends.engine.scheduled import Scheduled
from backends.engine.scheduler import Outcome, Scheduler

PROMPT_TOKENS_A_ROUND = 64
"""A long prompt is read in pieces between the steps of the others, so that they keep their pace."""

PROMPT_TOKENS_ALONE = 256
"""A prompt with nobody beside it is read in larger pieces, which still leave room to hear a cancel."""

RESPONSES_A_SECOND_PER_THREAD = 10
"""Of an engine on the CPU. More of them would not read faster, and each stalls a step: its way to the client
wakes some ten threads on the processors that the engine needs, all of them."""


class Seated(Scheduled):
    """An Engine but for its name: sequences in the rows of a model; see Engine."""

    def __init__(
        self, rows: Rows, settings: Mapping[str, Any], folder: Path, *, responses_a_second: float
    ) -> None:
        self._rounds = _Rounds(rows)
        scheduler = Scheduler(
            settings["max_active"],
            settings["max_waiting"],
            self._rounds.advance,
            # the libraries give the interpreter away while they compute: nobody has to be waited for
            courtesy=0,
            responses_a_second=responses_a_second,
            interrupt=rows.interrupt,
        )
        super().__init__(scheduler, settings, folder)

    def answering(self, ids: Sequence[int], sampling: Sampling, guided: Guided | None) -> _Answer:
        """Return the runner of one answer."""
        return _Answer(self._rounds, ids, Sampler(sampling, ids, guided))

    def scoring(self, ids: Sequence[int], found: list[float]) -> _Score:
        """Return the runner that scores a prompt."""
        return _Score(self._rounds, ids, found)

    def free(self) -> None:
        """Free model and cache."""
        self._rounds.close()


class _Sequence(ABC):
    """A prompt that is read piece by piece; what its logits are for is up to the kind."""

    every: bool
    """Whether it takes the logits after each id, or after the last of a piece alone."""

    def __init__(self, rounds: _Rounds, ids: Sequence[int]) -> None:
        self._rounds = rounds
        self.unread = list(ids)
        self.age = rounds.enter(self)

    def close(self) -> None:
        self._rounds.leave(self)

    @abstractmethod
    def take(self, logits: Logits) -> Step | None:
        """Make what follows from logits [rows, vocabulary]; None while more must be read."""


class _Answer(_Sequence):
    """A sequence that generates: it chooses a token from the last logits."""

    every = False

    def __init__(self, rounds: _Rounds, ids: Sequence[int], sampler: Sampler) -> None:
        super().__init__(rounds, ids)
        self._sampler = sampler
        self.token = -1

    def take(self, logits: Logits) -> Step | None:
        if self.unread:
            return None
        step = self._sampler.step(logits[-1])
        if step.ids:
            (self.token,) = step.ids
        return step


class _Score(_Sequence):
    """A sequence that keeps how likely each token of its prompt was."""

    every = True

    def __init__(self, rounds: _Rounds, ids: Sequence[int], found: list[float]) -> None:
        super().__init__(rounds, ids)
        self._following = list(ids[1:])
        self._found = found

    def take(self, logits: Logits) -> Step | None:
        following, self._following = self._following[: len(logits)], self._following[len(logits) :]
        self._found += [log_probability(row, token) for row, token in zip(logits, following, strict=False)]
        return None if self.unread else Step((), finish_reason="stop")


class _Rounds:
    """Who sits in which row of the model: those that generate in the first rows, readers behind them."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._seats: list[_Sequence | None] = [None] * rows.count
        self._generating = 0
        self._entered = 0
        self._turn = 0

    def close(self) -> None:
        self._rows.close()

    def enter(self, sequence: _Sequence) -> int:
        """Seat a sequence in the first free row behind those that generate; return its number."""
        self._close_ranks()
        row = self._seats.index(None, self._generating)
        self._seats[row] = sequence
        self._entered += 1
        return self._entered

    def leave(self, sequence: _Sequence) -> None:
        """Free the row of a sequence."""
        row = self._seats.index(sequence)
        self._seats[row] = None
        self._rows.clear(row)

    def _close_ranks(self) -> None:
        """Fill the gaps among those that generate with the last of them: at once, as many may have left."""
        while None in self._seats[: self._generating]:
            self._generating -= 1
            if self._seats[self._generating] is not None:
                self._move(self._generating, self._seats.index(None))

    def advance(self, sequences: Sequence[_Sequence]) -> list[Outcome]:
        """Read a piece of one prompt, and make a token for everyone whose prompt has been read."""
        self._close_ranks()
        outcomes: dict[_Sequence, Outcome] = {}
        generating = self._seats[: self._generating]
        if reader := self._next_reader():
            outcomes[reader] = self._read(reader)
        outcomes.update(self._step([seat for seat in generating if isinstance(seat, _Answer)]))
        return [outcomes.get(sequence) for sequence in sequences]

    def _next_reader(self) -> _Sequence | None:
        """Take the shortest rest and the oldest in turn: short prompts are quick, long ones never starve."""
        readers = [seat for seat in self._seats[self._generating :] if seat is not None]
        self._turn += 1
        shortest = self._turn % 2 == 0
        return min(readers, key=lambda seat: (len(seat.unread) if shortest else 0, seat.age), default=None)

    def _read(self, reader: _Sequence) -> Outcome:
        piece = reader.unread[: PROMPT_TOKENS_A_ROUND if self._generating else PROMPT_TOKENS_ALONE]
        try:
            logits = self._rows.read(self._seats.index(reader), piece, every=reader.every)
            del reader.unread[: len(piece)]
            outcome = reader.take(logits)
        except Interrupted:
            return None
        except Exception as error:
            return error
        # one that is scored has ended when it is read
        if isinstance(reader, _Answer) and not reader.unread:
            self._move(self._seats.index(reader), self._generating)
            self._generating += 1
        return outcome

    def _step(self, answers: Sequence[_Answer]) -> dict[_Sequence, Outcome]:
        if not answers:
            return {}
        try:
            logits = self._rows.step([answer.token for answer in answers])
        except Interrupted:
            return {}
        except Exception as error:
            return dict.fromkeys(answers, error)
        return {answer: _taken(answer, row) for answer, row in zip(answers, logits, strict=True)}

    def _move(self, row: int, to: int) -> None:
        """Move a sequence; whoever sits there takes its row."""
        if row != to:
            self._rows.move(row, to, exchanging=self._seats[to] is not None)
            self._seats[row], self._seats[to] = self._seats[to], self._seats[row]


def _taken(answer: _Answer, row: Logits) -> Outcome:
    try:
        return answer.take(row[np.newaxis])
    except Exception as error:
        return error
