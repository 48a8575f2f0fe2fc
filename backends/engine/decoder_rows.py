"""A decoder in ONNX Runtime with a KV cache of rows, one sequence in each.

The graph is what onnxruntime-genai's model builder writes: GroupQueryAttention appends to a cache that is
input and output at once, [rows, KV heads, capacity, head size], and learns each row's length from the
attention mask
(https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupQueryAttention).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
Cache = npt.NDArray[np.float32]

FIRST_CAPACITY = 256
"""Tokens of room in each row at first; it doubles when a sequence needs more, and falls back when all have
left. Rows far apart in memory make every step slower."""


class Interrupted(Exception):
    """The run was ended from outside; the rows are as they were before it."""


class DecoderRows:
    """`count` sequences of up to `capacity` tokens; only one thread may use it, but for `interrupt`."""

    def __init__(self, folder: Path, *, rows: int, capacity: int, threads: int) -> None:
        import onnxruntime

        self._library = onnxruntime
        described = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]
        decoder = described["decoder"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # long enough to outlast the sampling between two steps; a thread that spins for longer takes the
        # processor from those who carry the tokens away
        options.add_session_config_entry("session.intra_op.spin_duration_us", "400")
        self._session = onnxruntime.InferenceSession(
            str(folder / decoder["filename"]), options, providers=["CPUExecutionProvider"]
        )
        self._running = onnxruntime.RunOptions()
        self._takes = {tensor.name for tensor in self._session.get_inputs()}
        self._names = [
            (
                decoder["inputs"][f"past_{kind}_names"] % layer,
                decoder["outputs"][f"present_{kind}_names"] % layer,
            )
            for layer in range(decoder["num_hidden_layers"])
            for kind in ("key", "value")
        ]
        self._heads, self._size = decoder["num_key_value_heads"], decoder["head_size"]
        self._vocabulary = described["vocab_size"]
        self._steps: dict[int, _Call] = {}
        self._lengths = np.zeros(rows, dtype=np.int64)
        self.count = rows
        self._most = capacity
        self.capacity = min(FIRST_CAPACITY, capacity)
        self._caches = self._empty_caches()

    def close(self) -> None:
        """Free model and cache."""
        self._steps.clear()
        self._caches.clear()
        self._session = None

    def interrupt(self) -> None:
        """End the run of another thread, or the next one when there is none: it raises Interrupted."""
        self._running.terminate = True

    def clear(self, row: int) -> None:
        """Forget the sequence of a row."""
        self._lengths[row] = 0
        if self.capacity > FIRST_CAPACITY and not self._lengths.any():
            self._resize(FIRST_CAPACITY)

    def read(self, row: int, ids: Sequence[int]) -> Logits:
        """Append ids to one row; return logits [len(ids), vocabulary] after each of them."""
        self._make_room(int(self._lengths[row]) + len(ids))
        call = self._call(slice(row, row + 1), len(ids))
        call.tokens[0] = ids
        self._run(call)
        logits: Logits = call.logits[0]
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
        self._run(call)
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
        shape = (self.count, self._heads, self.capacity, self._size)
        return {names: np.zeros(shape, dtype=np.float32) for names in self._names}

    def _call(self, rows: slice, tokens: int) -> _Call:
        """Bind the cache of some rows, and arrays for so many new tokens in each."""
        value = self._library.OrtValue.ortvalue_from_numpy
        count = rows.stop - rows.start
        call = _Call(
            rows,
            self._session.io_binding(),
            np.zeros((count, tokens), dtype=np.int64),
            np.zeros((count, tokens), dtype=np.int64) if "position_ids" in self._takes else None,
            np.empty((count, tokens, self._vocabulary), dtype=np.float32),
        )
        for (past, present), cache in self._caches.items():
            cached = value(cache[rows])
            call.binding.bind_ortvalue_input(past, cached)
            call.binding.bind_ortvalue_output(present, cached)
        call.binding.bind_ortvalue_input("input_ids", value(call.tokens))
        if call.places is not None:
            call.binding.bind_ortvalue_input("position_ids", value(call.places))
        call.binding.bind_ortvalue_output("logits", value(call.logits))
        return call

    def _run(self, call: _Call) -> None:
        before = self._lengths[call.rows]
        after = before + call.tokens.shape[1]
        mask = (np.arange(after.max()) < after[:, np.newaxis]).astype(np.int64)
        if call.places is not None:
            call.places[:] = before[:, np.newaxis] + np.arange(call.tokens.shape[1])
        call.binding.bind_cpu_input("attention_mask", mask)
        try:
            self._session.run_with_iobinding(call.binding, self._running)
        except Exception as failure:
            if self._running.terminate:
                raise Interrupted from failure
            raise
        finally:
            self._running.terminate = False
        self._lengths[call.rows] = after


@dataclass(frozen=True)
class _Call:
    """What one run reads and writes: bound memory, which must live as long as its binding.

    tokens and places are [rows, tokens], logits [rows, tokens, vocabulary].
    """

    rows: slice
    binding: Any
    tokens: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64] | None
    logits: Logits
