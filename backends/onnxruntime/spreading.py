"""A batch of ragged requests spread over the cores of a CPU, each part by one thread.

All cores on one run wait for each other some hundred times, and a graph that lays ragged requests out as rows
computes on the padding of the shorter ones. Parts of like lengths on a thread each do neither. A lone request
has all cores, as does a batch that cannot be divided evenly. What each request gets is the same either way.

No core waits for the others at the end: as soon as each part has one, the next batch is welcome.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.onnxruntime import accelerators, batch, sessions
from backends.onnxruntime.batch import Layout
from backends.onnxruntime.options import Options

_MOST = 128
"""Elements of a part, unless one request alone has more: the shorter requests of a part are computed as if
they were as long as its longest. With fewer for each core, reading the weights once for each part costs more
than it saves."""
_PARTS = 3
"""Parts for each core, where there is enough for them: the last ones even out what the others left."""
_UNEVEN = 1.4
"""How much longer than its share the busiest core may work before all cores on one run are faster."""
_STOP_SPINNING = "session.force_spinning_stop"

Request = Mapping[str, NDArray[Any]]
Shares = dict[str, list[NDArray[Any]]]
"""For each output every request's share of it."""
Ending = Future[Shares]


def cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0))


def applies(told: Options, layout: Layout) -> bool:
    """Say whether a model's batches may be spread: ragged, on a CPU, with threads nobody has numbered."""
    return bool(
        layout.batches
        and layout.ragged
        and told.providers == accelerators.CPU
        and told.intra_op_threads == 0
        and cores() > 1
    )


def calm(told: Options) -> Options:
    """Return options by which idle threads sleep once a run has ended, instead of spinning."""
    return replace(told, entries={**told.entries, _STOP_SPINNING: "1"})


class Spread:
    """The second session of a model, of one thread, run by as many threads as there are cores."""

    def __init__(self, file: Path, told: Options) -> None:
        self._session = sessions.load(file, replace(told, intra_op_threads=1))
        self._run_options = sessions.run_options(told)
        self._threads = cores()
        self._pool = ThreadPoolExecutor(self._threads)
        self._unfinished: set[Ending] = set()

    def parts(self, requests: Sequence[Request], layout: Layout) -> list[list[int]]:
        """Return the requests in parts; none where all cores are free, and faster on one run."""
        self._unfinished = {part for part in self._unfinished if not part.done()}
        if len(requests) == 1:
            return [[0]] if self._unfinished else []
        sizes = [_size(request, layout) for request in requests]
        found = divided(sizes, self._threads)
        return found if self._unfinished or is_even(found, sizes, self._threads) else []

    def start(
        self,
        names: Sequence[str],
        parts: Iterable[Sequence[int]],
        requests: Sequence[Request],
        layout: Layout,
    ) -> dict[Ending, Sequence[int]]:
        """Start to run parts, after those that run already; each ends with its requests' shares."""

        def run(part: Sequence[int]) -> Shares:
            together = [requests[place] for place in part]
            made = self._session.run(names, batch.feeds(together, layout), self._run_options)
            return {
                name: batch.parts(name, np.asarray(output), together, layout)
                for name, output in zip(names, made, strict=True)
            }

        begun: dict[Ending, Sequence[int]] = {self._pool.submit(run, part): part for part in parts}
        self._unfinished |= begun.keys()
        return begun

    def ended(self) -> Iterator[set[Ending]]:
        """Yield parts as they end, also those of an earlier batch, until no part waits for a core."""
        while len(self._unfinished) > self._threads:
            done, self._unfinished = wait(self._unfinished, return_when=FIRST_COMPLETED)
            yield done

    def close(self) -> None:
        """Wait for what is running."""
        self._pool.shutdown()


def divided(sizes: Sequence[int], threads: int) -> list[list[int]]:
    """Return the requests in parts of like sizes, the largest first.

    Args:
        sizes: elements of each request.
        threads: how many parts run at once.
    """
    most = min(_MOST, sum(sizes) // (_PARTS * threads))
    parts: list[list[int]] = []
    filled = 0
    for place in sorted(range(len(sizes)), key=lambda one: sizes[one]):
        if not parts or filled + sizes[place] > most:
            parts.append([])
            filled = 0
        parts[-1].append(place)
        filled += sizes[place]
    return sorted(parts, key=lambda part: -sum(sizes[place] for place in part))


def is_even(parts: Sequence[Sequence[int]], sizes: Sequence[int], threads: int) -> bool:
    """Say whether parts that nothing follows keep all threads busy until the end, and are worth it."""
    busy = [0] * threads
    for part in parts:
        busy[busy.index(min(busy))] += sum(sizes[place] for place in part)
    return sum(sizes) >= _MOST * threads and max(busy) * threads <= _UNEVEN * sum(sizes)


def _size(request: Request, layout: Layout) -> int:
    return max(int(request[name].size) for name in layout.ragged if name in request)
