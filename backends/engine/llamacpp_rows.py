"""A decoder in llama.cpp, each of whose sequences is a row: a row that moves is only called otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backends.engine.rows import Interrupted, Logits

MOST_TOKENS = 256
"""That one run computes, unless more sequences step together; more are read by several."""

MOST_WANTED = 64
"""That one run computes where the logits after every one are wanted: they take more than all else."""

CACHE_TYPES = {"f32": 0, "f16": 1, "q8_0": 8}
"""Name -> ggml_type (ggml.h)."""


class LlamacppRows:
    """`count` sequences of up to `capacity` tokens; see Rows."""

    def __init__(self, file: Path, *, rows: int, capacity: int, threads: int, cache_type: str) -> None:
        """`cache_type` is what keys and values are kept in, one of CACHE_TYPES."""
        from cyllama.llama import llama_cpp

        llama_cpp.disable_logging()
        self._library = llama_cpp
        self._model = _model(llama_cpp, file)
        parameters = llama_cpp.LlamaContextParams()
        # a share of this for each: no sequence can take what another was promised
        parameters.n_ctx, parameters.n_seq_max = rows * capacity, rows
        most = max(MOST_TOKENS, rows)
        parameters.n_batch = parameters.n_ubatch = most
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.type_k = parameters.type_v = CACHE_TYPES[cache_type]
        self._context = llama_cpp.LlamaContext(self._model, parameters, False)
        self._context.install_cancel_callback()
        self._batch = llama_cpp.LlamaBatch(n_tokens=most, embd=0, n_seq_max=1)
        self.count = rows
        self.capacity = capacity
        self._sequences = list(range(rows))
        self._lengths = [0] * rows

    def close(self) -> None:
        """Free model and cache."""
        self._batch.close()
        self._context.close()
        self._model.close()

    def interrupt(self) -> None:
        """End the run of another thread, or the next one when there is none: it raises Interrupted."""
        self._context.cancel = True

    def clear(self, row: int) -> None:
        """Forget the sequence of a row."""
        self._shorten(self._sequences[row], 0)

    def read(self, row: int, ids: Sequence[int], *, every: bool) -> Logits:
        """Append ids to one row; see Rows.read."""
        sequence = self._sequences[row]
        before = self._lengths[sequence]
        most = MOST_WANTED if every else MOST_TOKENS
        logits = np.empty((len(ids) if every else 1, self._model.n_vocab), dtype=np.float32)
        try:
            for begin in range(0, len(ids), most):
                piece = ids[begin : begin + most]
                self._read(sequence, piece, every, begin + most >= len(ids))
                if every:
                    self._fill(logits[begin : begin + most], range(len(piece)))
        except BaseException:
            self._shorten(sequence, before)
            raise
        if not every:
            self._fill(logits, [(len(ids) - 1) % most])
        return logits

    def step(self, tokens: Sequence[int]) -> Logits:
        """Append a token to each of the first len(tokens) rows; see Rows.step."""
        sequences = self._sequences[: len(tokens)]
        self._batch.reset()
        for sequence, token in zip(sequences, tokens, strict=True):
            self._add(sequence, token, 0, wanted=True)
        self._run(sequences)
        for sequence in sequences:
            self._lengths[sequence] += 1
        logits = np.empty((len(tokens), self._model.n_vocab), dtype=np.float32)
        self._fill(logits, range(len(tokens)))
        return logits

    def move(self, row: int, to: int, *, exchanging: bool) -> None:
        """Exchange the sequences of two rows."""
        self._sequences[row], self._sequences[to] = self._sequences[to], self._sequences[row]

    def _read(self, sequence: int, ids: Sequence[int], every: bool, last: bool) -> None:
        self._batch.reset()
        for place, token in enumerate(ids):
            self._add(sequence, token, place, wanted=every or (last and place == len(ids) - 1))
        self._run([sequence])
        self._lengths[sequence] += len(ids)

    def _add(self, sequence: int, token: int, further: int, *, wanted: bool) -> None:
        position = self._lengths[sequence] + further
        if position >= self.capacity:
            raise ValueError(f"a row of {self.capacity} tokens cannot hold {position + 1}")
        self._batch.add(int(token), position, [sequence], wanted)

    def _run(self, sequences: Sequence[int]) -> None:
        """Compute the batch; raise Interrupted where it was ended, with the sequences as they were."""
        try:
            self._context.decode(self._batch)
        except Exception:
            for sequence in sequences:
                self._shorten(sequence, self._lengths[sequence])
            if self._context.cancel:
                self._context.cancel = False
                raise Interrupted from None
            raise

    def _shorten(self, sequence: int, length: int) -> None:
        self._context.memory_seq_rm(sequence, length, -1)
        self._lengths[sequence] = length

    def _fill(self, rows: Logits, places: Sequence[int]) -> None:
        """Write the logits behind some tokens of the last batch into rows [places, vocabulary]."""
        for row, place in zip(rows, places, strict=True):
            row[:] = self._context.get_logits_ith(place)


def _model(library: Any, file: Path) -> Any:
    """Load a model. cyllama 0.2.18 reads the number of its logits where its own class has none."""

    class Model(library.LlamaModel):  # type: ignore[misc]
        n_vocab: int = 0

    parameters = library.LlamaModelParams()
    # of a mapped file the library keeps what it has put into another order for this processor twice
    parameters.use_mmap = False
    model = Model(str(file), parameters, False)
    model.n_vocab = model.get_vocab().n_vocab
    return model
