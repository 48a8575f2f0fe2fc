"""The raw GGUF as a witness: llama.cpp's logits, nothing of ours between."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builder.proving.golden import likeliest

Logits = npt.NDArray[np.float32]

_BATCH = 512
"""Tokens that are computed at once."""

_CACHES = {"f32": 0, "f16": 1, "q8_0": 8}
"""What keys and values are kept in -> ggml_type (ggml.h)."""


def load(folder: Path, arguments: Mapping[str, Any]) -> Model:
    """Load the artifact folder's model.gguf."""
    from cyllama.llama import llama_cpp

    llama_cpp.disable_logging()
    return Model(llama_cpp, folder / "model.gguf", int(arguments["threads"]), arguments["cache_type"])


class Model:
    """One sequence at a time; `start` begins a new one."""

    def __init__(self, library: Any, file: Path, threads: int, cache_type: str) -> None:
        class Named(library.LlamaModel):  # type: ignore[misc]
            # cyllama 0.2.18 reads it where its own class has none
            n_vocab = 0

        self._library = library
        self._threads = threads
        self._cache = _CACHES[cache_type]
        self._model = Named(str(file), library.LlamaModelParams(), False)
        self._model.n_vocab = self._model.get_vocab().n_vocab
        self._context: Any = None
        self._length = 0

    def start(self, ids: list[int], tokens: int) -> Logits:
        """Return the logits [vocabulary] after the prompt; room is made for `tokens` more."""
        self._begin(len(ids) + tokens)
        (logits,) = self._read(ids, every=False)
        return logits

    def append(self, token: int) -> Logits:
        """Return the logits [vocabulary] after one more token."""
        (logits,) = self._read([token], every=False)
        return logits

    def again(self, prompts: list[list[int]]) -> list[dict[int, float]]:
        """Return the largest logits after each of the prompts, each read in one piece."""
        return [likeliest(self.start(ids, 1)) for ids in prompts]

    def read(self, ids: list[int]) -> Logits:
        """Return the logits [tokens - 1, vocabulary] after each of these ids but the last."""
        self._begin(len(ids))
        return np.stack(self._read(ids[:-1], every=True))

    def _begin(self, tokens: int) -> None:
        if self._context is not None:
            self._context.close()
        parameters = self._library.LlamaContextParams()
        parameters.n_ctx, parameters.n_seq_max = tokens, 1
        parameters.n_batch = parameters.n_ubatch = _BATCH
        parameters.type_k = parameters.type_v = self._cache
        if self._threads:
            parameters.n_threads = parameters.n_threads_batch = self._threads
        self._context = self._library.LlamaContext(self._model, parameters, False)
        self._length = 0

    def _read(self, ids: list[int], *, every: bool) -> list[Logits]:
        found: list[Logits] = []
        for begin in range(0, len(ids), _BATCH):
            piece = ids[begin : begin + _BATCH]
            batch = self._library.LlamaBatch(n_tokens=len(piece), embd=0, n_seq_max=1)
            wanted = [every or begin + place == len(ids) - 1 for place in range(len(piece))]
            for place, (token, is_wanted) in enumerate(zip(piece, wanted, strict=True)):
                batch.add(token, self._length + place, [0], is_wanted)
            self._context.decode(batch)
            batch.close()
            self._length += len(piece)
            found += [
                np.array(self._context.get_logits_ith(int(place)), dtype=np.float32)
                for place in np.flatnonzero(wanted)
            ]
        return found
