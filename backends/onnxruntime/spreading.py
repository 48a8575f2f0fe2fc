"""A batch of ragged requests spread over the cores of a CPU, each part by one thread.

All cores on one run wait for each other some hundred times, and a graph that lays ragged requests out as rows
computes on the padding of the shorter ones. Parts of like lengths on a thread each do neither. A lone request
has all cores, as does a batch that cannot be divided evenly. What each request gets is the same either way.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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

    def run(self, names: Sequence[str], requests: Sequence[Request], layout: Layout) -> Shares | None:
        """Return every request's share of each output, None where all cores on one run are faster."""
        parts = divided([_size(request, layout) for request in requests], self._threads)
        if not parts:
            return None
        found: Shares = {name: [np.empty(0)] * len(requests) for name in names}

        def run_part(part: Sequence[int]) -> None:
            together = [requests[place] for place in part]
            made = self._session.run(names, batch.feeds(together, layout), self._run_options)
            for name, output in zip(names, made, strict=True):
                for place, share in zip(
                    part, batch.parts(name, np.asarray(output), together, layout), strict=True
                ):
                    found[name][place] = share

        # the first failure is raised, once all parts have ended
        list(self._pool.map(run_part, parts))
        return found


def divided(sizes: Sequence[int], threads: int) -> list[list[int]]:
    """Return the requests in parts of like sizes, the largest first; none where one run is better.

    Args:
        sizes: elements of each request.
        threads: how many parts run at once.
    """
    if sum(sizes) < _MOST * threads:
        return []
    most = min(_MOST, sum(sizes) // (_PARTS * threads))
    parts: list[list[int]] = []
    filled = 0
    for place in sorted(range(len(sizes)), key=lambda one: sizes[one]):
        if not parts or filled + sizes[place] > most:
            parts.append([])
            filled = 0
        parts[-1].append(place)
        filled += sizes[place]
    busy = [0] * threads
    totals = sorted((sum(sizes[place] for place in part) for part in parts), reverse=True)
    for total in totals:
        busy[busy.index(min(busy))] += total
    if len(parts) < threads or max(busy) * threads > _UNEVEN * sum(sizes):
        return []
    return sorted(parts, key=lambda part: -sum(sizes[place] for place in part))


def _size(request: Request, layout: Layout) -> int:
    return max(int(request[name].size) for name in layout.ragged if name in request)
