"""A decoder in ONNX Runtime on a CPU, with a KV cache of rows in memory, one sequence in each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backends.engine.decoder_graph import Call, DecoderGraph
from backends.engine.rows import Logits

Cache = npt.NDArray[np.float32]

FIRST_CAPACITY = 256
"""Tokens of room in each row at first; it doubles when a sequence needs more, and falls back when all have
left. Rows far apart in memory make every step slower."""


class DecoderRows:
    """`count` sequences of up to `capacity` tokens; see Rows."""

    def __init__(self, folder: Path, *, rows: int, capacity: int, threads: int) -> None:
        import onnxruntime

        self._library = onnxruntime
        self._graph = DecoderGraph(folder, provider="cpu", threads=threads)
        self._steps: dict[int, Call] = {}
        self._lengths = np.zeros(rows, dtype=np.int64)
        self.count = rows
        self._most = capacity
        self.capacity = min(FIRST_CAPACITY, capacity)
        self._caches = self._empty_caches()

    def close(self) -> None:
        """Free model and cache."""
        self._steps.clear()
        self._caches.clear()
        self._graph.close()

    def interrupt(self) -> None:
        """End the run of another thread, or the next one when there is none: it raises Interrupted."""
        self._graph.interrupt()

    def clear(self, row: int) -> None:
        """Forget the sequence of a row."""
        self._lengths[row] = 0
        if self.capacity > FIRST_CAPACITY and not self._lengths.any():
            self._resize(FIRST_CAPACITY)

    def read(self, row: int, ids: Sequence[int], *, every: bool) -> Logits:
        """Append ids to one row; see Rows.read. The graph computes the logits of all in any case."""
        self._make_room(int(self._lengths[row]) + len(ids))
        call = self._call(slice(row, row + 1), len(ids))
        call.tokens[0] = ids
        self._lengths[row : row + 1] = self._graph.run(call, self._lengths[row : row + 1])
        logits: Logits = call.logits[0] if every else call.logits[0, -1:]
        return logits

    def step(self, tokens: Sequence[int]) -> Logits:
        """Append a token to each of the first len(tokens) rows; return logits [len(tokens), vocabulary].

        The array is used again by the next step of as many.
        """
        count = len(tokens)
        self._make_room(int(self._lengths[:count].max()) + 1)
        if count not in self._steps:
            self._steps[count] = self._call(slice(0, count), 1)
        call = self._steps[count]
        call.tokens[:, 0] = tokens
        self._lengths[:count] = self._graph.run(call, self._lengths[:count])
        logits: Logits = call.logits[:, 0]
        return logits

    def move(self, row: int, to: int, *, exchanging: bool) -> None:
        """Move the sequence of one row to another; `exchanging` keeps the one that is there, in `row`."""
        end, other = self._lengths[[row, to]]
        for cache in self._caches.values():
            kept = cache[to, :, :other].copy() if exchanging else None
            cache[to, :, :end] = cache[row, :, :end]
            if kept is not None:
                cache[row, :, :other] = kept
        self._lengths[[row, to]] = other, end

    def _make_room(self, tokens: int) -> None:
        if tokens > self._most:
            raise ValueError(f"a row of {self._most} tokens cannot hold {tokens}")
        capacity = self.capacity
        while capacity < tokens:
            capacity *= 2
        if capacity > self.capacity:
            self._resize(min(capacity, self._most))

    def _resize(self, capacity: int) -> None:
        """Give every row room for so many tokens; what they hold is kept."""
        self.capacity, before = capacity, self._caches
        caches = self._empty_caches()
        for names, cache in before.items():
            for row, length in enumerate(self._lengths):
                caches[names][row, :, :length] = cache[row, :, :length]
        self._caches = caches
        self._steps.clear()

    def _empty_caches(self) -> dict[tuple[str, str], Cache]:
        shape = (self.count, self._graph.heads, self.capacity, self._graph.size)
        return {names: np.zeros(shape, dtype=np.float32) for names in self._graph.cache_names}

    def _call(self, rows: slice, tokens: int) -> Call:
        """Bind the cache of some rows, and arrays for so many new tokens in each."""
        call = self._graph.call(rows.stop - rows.start, tokens)
        for (past, present), cache in self._caches.items():
            cached = self._library.OrtValue.ortvalue_from_numpy(cache[rows])
            call.binding.bind_ortvalue_input(past, cached)
            call.binding.bind_ortvalue_output(present, cached)
        return call
