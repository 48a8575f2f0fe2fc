"""A KV cache of rows in the memory of a device, one sequence in each, that never move.

The rows that callers speak of are places in a table, so that an exchange of two sequences copies nothing. A
step computes all rows up to the last that is used: what it appends to those that were not asked for lies
behind their end, where the next token overwrites it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backends.engine.decoder_graph import Call, DecoderGraph, Lengths
from backends.engine.rows import Logits


class DeviceRows:
    """`count` sequences of up to `capacity` tokens; see Rows."""

    def __init__(self, folder: Path, *, rows: int, capacity: int, threads: int, device: str = "cuda") -> None:
        import onnxruntime

        self._graph = DecoderGraph(folder, provider=device, threads=threads)
        self._device = device
        self.count = rows
        self.capacity = capacity
        self._shape = (self._graph.heads, capacity, self._graph.size)
        create = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        self._caches = {
            names: create([rows, *self._shape], self._graph.cache_type, device, 0)
            for names in self._graph.cache_names
        }
        self._lengths: Lengths = np.zeros(rows, dtype=np.int64)
        self._places = list(range(rows))
        self._steps: dict[int, Call] = {}

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
        self._lengths[self._places[row]] = 0

    def move(self, row: int, to: int, *, exchanging: bool) -> None:
        """Exchange the sequences of two rows."""
        self._places[row], self._places[to] = self._places[to], self._places[row]

    def read(self, row: int, ids: Sequence[int], *, every: bool) -> Logits:
        """Append ids to one row; see Rows.read."""
        if not self._lengths[self._places[row]]:
            self._take_lowest(row)
        place = self._places[row]
        call = self._bound(place, 1, len(ids))
        call.tokens[0] = ids
        self._require_room(place, len(ids))
        (self._lengths[place],) = self._graph.run(call, self._lengths[place : place + 1])
        return np.asarray(call.logits[0] if every else call.logits[0, -1:], dtype=np.float32)

    def step(self, tokens: Sequence[int]) -> Logits:
        """Append a token to each of the first len(tokens) rows; return logits [len(tokens), vocabulary]."""
        places = self._places[: len(tokens)]
        count = max(places) + 1
        if count not in self._steps:
            self._steps[count] = self._bound(0, count, 1)
        call = self._steps[count]
        for place in places:
            self._require_room(place, 1)
        call.tokens[places, 0] = tokens
        # a row that is full and not asked for has nowhere to go on
        before = np.minimum(self._lengths[:count], self.capacity - 1)
        after = self._graph.run(call, before)
        self._lengths[places] = after[places]
        return np.asarray(call.logits[places, 0], dtype=np.float32)

    def _take_lowest(self, row: int) -> None:
        """Give an empty row the first place that holds nothing, so that steps compute few rows."""
        free = int(np.flatnonzero(self._lengths == 0)[0])
        self.move(row, self._places.index(free), exchanging=False)

    def _require_room(self, place: int, tokens: int) -> None:
        wanted = int(self._lengths[place]) + tokens
        if wanted > self.capacity:
            raise ValueError(f"a row of {self.capacity} tokens cannot hold {wanted}")

    def _bound(self, first: int, count: int, tokens: int) -> Call:
        """Bind the caches of `count` places from `first` on, where they lie."""
        call = self._graph.call(count, tokens)
        shape = [count, *self._shape]
        for (past, present), cache in self._caches.items():
            place: Any = cache.data_ptr() + first * (cache.tensor_size_in_bytes() // self.count)
            call.binding.bind_input(past, self._device, 0, self._graph.cache_type, shape, place)
            call.binding.bind_output(present, self._device, 0, self._graph.cache_type, shape, place)
        return call
