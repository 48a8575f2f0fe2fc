"""Texts as what NVIDIA's preprocessing makes of them (inflight_batcher_llm of TensorRT-LLM 1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.batches import padded, texts
from backends.engine.triton_model import Arrays
from backends.text.encoding import Encoder

REFUSED = frozenset({"IMAGE_BYTES", "IMAGE_URL", "IMAGES", "VIDEO_BYTES"})
"""Of models that see."""


class Prompts:
    """Encodes the inputs of preprocessing; `end_id` and `pad_id` are for requests that say none."""

    def __init__(self, encoder: Encoder, end_id: int, pad_id: int) -> None:
        self._encoder = encoder
        self._end_id = end_id
        self._pad_id = pad_id

    def encode(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Return the outputs of preprocessing by name, each with the batch's rows.

        Raises ValueError with a text for the client.
        """
        refused = sorted(REFUSED & set(inputs))
        if refused:
            raise ValueError(f"this model reads text alone: leave out {', '.join(refused)}")
        rows = self._encoder.encode_batch(texts("QUERY", inputs["QUERY"]))
        if not all(rows):
            raise ValueError("QUERY is empty: it has 0 tokens, at least 1 is needed")
        count = len(rows)
        pad = inputs.get("PAD_ID", np.full((count, 1), self._pad_id, dtype=np.int32))
        ids = padded(rows, int(pad.reshape(-1)[0]))
        decoder = self._decoder(inputs, pad)
        return {
            "INPUT_ID": ids,
            "REQUEST_INPUT_LEN": np.array([[len(row)] for row in rows], dtype=np.int32),
            "DECODER_INPUT_ID": padded(decoder, int(pad.reshape(-1)[0])),
            "REQUEST_DECODER_INPUT_LEN": np.array([[len(row)] for row in decoder], dtype=np.int32),
            "BAD_WORDS_IDS": self._words(inputs, "BAD_WORDS_DICT", count),
            "STOP_WORDS_IDS": self._words(inputs, "STOP_WORDS_DICT", count),
            "EMBEDDING_BIAS": self._bias(inputs, count),
            "REQUEST_OUTPUT_LEN": inputs["REQUEST_OUTPUT_LEN"],
            "OUT_END_ID": inputs.get("END_ID", np.full((count, 1), self._end_id, dtype=np.int32)),
            "OUT_PAD_ID": pad,
            "OUT_PROMPT_TABLE_EXTRA_IDS": self._extra(inputs, ids),
        }

    def _decoder(self, inputs: Arrays, pad: npt.NDArray[Any]) -> list[list[int]]:
        if "DECODER_QUERY" in inputs:
            return self._encoder.encode_batch(texts("DECODER_QUERY", inputs["DECODER_QUERY"]))
        return [[int(value)] for value in pad.reshape(-1)]

    def _words(self, inputs: Arrays, name: str, count: int) -> npt.NDArray[np.int32]:
        if name not in inputs:
            return np.zeros((count, 2, 0), dtype=np.int32)
        return word_lists([self._ids(name, row) for row in inputs[name].reshape(count, -1)])

    def _ids(self, name: str, row: npt.NDArray[Any]) -> list[list[int]]:
        encoded = (self._encoder.encode(word, False) for word in texts(name, row) if word)
        return [ids for ids in encoded if ids]

    def _bias(self, inputs: Arrays, count: int) -> npt.NDArray[np.float32]:
        given = [name in inputs for name in ("EMBEDDING_BIAS_WORDS", "EMBEDDING_BIAS_WEIGHTS")]
        if not any(given):
            return np.zeros((count, 0), dtype=np.float32)
        words, weights = (
            inputs[name].reshape(count, -1) if name in inputs else np.empty((count, 0))
            for name in ("EMBEDDING_BIAS_WORDS", "EMBEDDING_BIAS_WEIGHTS")
        )
        if words.shape != weights.shape:
            raise ValueError(
                f"EMBEDDING_BIAS_WORDS has {words.shape[1]} words and EMBEDDING_BIAS_WEIGHTS "
                f"{weights.shape[1]} weights: one for each word is expected"
            )
        bias = np.zeros((count, self._encoder.size), dtype=np.float32)
        for row in range(count):
            for word, weight in zip(texts("EMBEDDING_BIAS_WORDS", words[row]), weights[row], strict=True):
                np.add.at(bias[row], self._encoder.encode(word, False), weight)
        return bias

    def _extra(self, inputs: Arrays, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
        """Return the table's extra id where an id stands for a row of the prompt's table, else 0."""
        given = inputs.get("PROMPT_TABLE_EXTRA_ID", np.zeros((len(ids), 1), dtype=np.uint64))
        return np.where(ids >= self._encoder.size, given, 0).astype(np.uint64)


def word_lists(rows: Sequence[Sequence[Sequence[int]]]) -> npt.NDArray[np.int32]:
    """Return words as int32 [rows, 2, n], n at least 1.

    First the ids one after another, filled up with 0; then where each word ends, filled up with -1.
    """
    size = max(1, *(sum(map(len, words)) for words in rows))
    found = np.zeros((len(rows), 2, size), dtype=np.int32)
    found[:, 1] = -1
    for row, words in zip(found, rows, strict=True):
        ids = [token for word in words for token in word]
        row[0, : len(ids)] = ids
        row[1, : len(words)] = np.cumsum([len(word) for word in words])
    return found
