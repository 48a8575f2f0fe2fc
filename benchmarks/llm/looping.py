"""Loops around an engine that is stepped: always so many requests at once, or some more at every step."""

from __future__ import annotations

import time
from collections.abc import Sequence

from builder.measuring.door import Answer
from builder.measuring.told import Asked, Told
from llm.libraries import Library


class _Request:
    def __init__(self, measured: bool) -> None:
        self.measured = measured
        self.asked = time.perf_counter()
        self.answer = Answer()

    def told(self) -> Asked:
        last = self.answer.seconds[-1] if self.answer.seconds else None
        return Asked(self.asked, self.measured, self.asked, last, "", self.answer)


def run(library: Library, prompts: Sequence[Sequence[int]], tokens: int, level: int, requests: int) -> Told:
    """Return when the tokens of `requests` came, which others follow so that there are always `level`.

    Prompts are asked one after the other, from the beginning again where they do not suffice.
    """
    begun: dict[str, _Request] = {}
    running: set[str] = set()
    left = requests
    started, before = time.perf_counter(), time.process_time()

    def begin() -> None:
        key = str(len(begun))
        begun[key] = _Request(measured=len(begun) < requests)
        running.add(key)
        library.add(key, prompts[int(key) % len(prompts)], tokens)

    for _ in range(level):
        begin()
    while left:
        arrived = library.step()
        now = time.perf_counter()
        for key, ids, ended in arrived:
            if key not in running:
                continue
            if ids:
                begun[key].answer.seconds.append(now)
                begun[key].answer.tokens.append(len(ids))
            if ended:
                running.remove(key)
                left -= begun[key].measured
                if left:
                    begin()
    ended_at = time.perf_counter()
    share = (time.process_time() - before) / (ended_at - started)
    library.abort(sorted(running))
    return Told(started, ended_at, "", round(share, 3), tuple(one.told() for one in begun.values()))


def arriving(
    library: Library, prompts: Sequence[Sequence[int]], tokens: int, at_a_step: int
) -> list[list[int]]:
    """Return the answers to prompts of which so many begin before each step, as a server's do.

    Batches of every size come about, and steps that read prompts beside those that are answered.
    """
    found: dict[str, list[int]] = {}
    left = 0
    for first in range(0, len(prompts), at_a_step):
        for number, ids in enumerate(prompts[first : first + at_a_step], first):
            found[str(number)] = []
            library.add(str(number), ids, tokens)
            left += 1
        left -= _read(library, found)
    while left:
        left -= _read(library, found)
    return list(found.values())


def _read(library: Library, found: dict[str, list[int]]) -> int:
    """Note what a step brings; return how many answers it ended."""
    ended = 0
    for key, ids, last in library.step():
        found[key] += ids
        ended += last
    return ended
