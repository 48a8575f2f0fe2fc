"""A decoder in ONNX Runtime with a KV cache of rows, one sequence in each.

The graph is what onnxruntime-genai's model builder writes: GroupQueryAttention appends to a cache that is
input and output at once, [rows, KV heads, capacity, head size], and learns each row's length from the
attention mask
(https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupQueryAttention).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]


class DecoderRows:
    """`count` sequences of up to `capacity` tokens; only one thread may use it.

    Memory of the cache is taken by the system page by page as sequences grow, whatever the capacity.
    """

    def __init__(self, folder: Path, *, rows: int, capacity: int, threads: int) -> None:
        import onnxruntime

        self._library = onnxruntime
        described = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]
        decoder = described["decoder"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(folder / decoder["filename"]), options, providers=["CPUExecutionProvider"]
        )
        self._takes = {tensor.name for tensor in self._session.get_inputs()}
        shape = (rows, decoder["num_key_value_heads"], capacity, decoder["head_size"])
        self._caches = {
            (
                decoder["inputs"][f"past_{kind}_names"] % layer,
                decoder["outputs"][f"present_{kind}_names"] % layer,
            ): np.zeros(shape, dtype=np.float32)
            for layer in range(decoder["num_hidden_layers"])
            for kind in ("key", "value")
        }
        self._logits = np.zeros((rows, 1, described["vocab_size"]), dtype=np.float32)
        self._bindings: dict[tuple[int, int], Any] = {}
        self._lengths = np.zeros(rows, dtype=np.int64)
        self.count = rows

    def close(self) -> None:
        """Free model and cache."""
        self._bindings.clear()
        self._caches.clear()
        self._session = None

    def clear(self, row: int) -> None:
        """Begin a new sequence in a row."""
        self._lengths[row] = 0

    def read(self, row: int, ids: Sequence[int]) -> Logits:
        """Append ids to one row; return logits [len(ids), vocabulary] after each of them."""
        tokens = np.array([ids], dtype=np.int64)
        output: Logits = np.empty((1, len(ids), self._logits.shape[-1]), dtype=np.float32)
        self._run(slice(row, row + 1), tokens, output)
        logits: Logits = output[0]
        return logits

    def step(self, tokens: Sequence[int]) -> Logits:
        """Append a token to each of the first len(tokens) rows; return logits [len(tokens), vocabulary].

        The array is used again by the next step.
        """
        count = len(tokens)
        self._run(slice(0, count), np.array(tokens, dtype=np.int64)[:, np.newaxis], self._logits[:count])
        return self._logits[:count, 0]

    def exchange(self, one: int, other: int) -> None:
        """Swap the sequences of two rows."""
        ends = self._lengths[[one, other]]
        for cache in self._caches.values():
            kept = cache[one, :, : ends[0]].copy()
            cache[one, :, : ends[1]] = cache[other, :, : ends[1]]
            cache[other, :, : ends[0]] = kept
        self._lengths[[one, other]] = ends[::-1]

    def _run(self, rows: slice, tokens: npt.NDArray[np.int64], logits: Logits) -> None:
        before = self._lengths[rows]
        after = before + tokens.shape[1]
        columns = np.arange(after.max())
        inputs = {
            "input_ids": tokens,
            "attention_mask": (columns < after[:, np.newaxis]).astype(np.int64),
            "position_ids": before[:, np.newaxis] + np.arange(tokens.shape[1]),
        }
        binding = self._binding(rows)
        for name in self._takes & inputs.keys():
            binding.bind_cpu_input(name, inputs[name])
        binding.bind_ortvalue_output("logits", self._library.OrtValue.ortvalue_from_numpy(logits))
        self._session.run_with_iobinding(binding)
        self._lengths[rows] = after

    def _binding(self, rows: slice) -> Any:
        """Return the binding whose cache tensors are these rows; made once for each choice of rows."""
        key = (rows.start, rows.stop)
        if key not in self._bindings:
            binding = self._session.io_binding()
            for (past, present), cache in self._caches.items():
                value = self._library.OrtValue.ortvalue_from_numpy(cache[rows])
                binding.bind_ortvalue_input(past, value)
                binding.bind_ortvalue_output(present, value)
            self._bindings[key] = binding
        return self._bindings[key]
