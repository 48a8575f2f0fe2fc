"""The texts of many requests to the rows of ids of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.batches import extent, padded, together
from backends.row_tokenizer.words import Words, spans
from backends.text.elements import place, read_texts
from backends.text.limits import LimitedEncoder
from backends.text.pieces import SPECIAL

TEXT = "text_input"

Arrays = dict[str, npt.NDArray[Any]]


class Rows:
    """What turns texts into rows: the encoder, and which of its tokens are words."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Open the tokenizer of a folder; `settings` are those of a LimitedEncoder."""
        self._encoder = LimitedEncoder(folder, settings)
        self._words = Words(self._encoder.tokenizer, folder)

    def answer(
        self, requests: Sequence[tuple[npt.NDArray[Any], Collection[str]]]
    ) -> list[Arrays | ValueError]:
        """Return for each request its outputs, or why it is refused.

        A request is its `text_input`, bytes [b,1], and the names of the outputs that it asks for:
        `input_ids` int32 [b,n], the texts' one after the other, `rows` int32 [b,2] of (tokens, ids that the
        row takes), `extent` int32 [b,m] of at least W elements, W the tokens of its longest text,
        `num_input_tokens` int32 [b,1], `offsets` int32 [b,W,2] of the characters [begin, end) that a token
        stands for, `special` int32 [b,W]: 0 where a token begins a word, 2 where it continues one, and 1
        where it is not of the text but of the template, or padding.
        """
        read = [self._read(text) for text, _ in requests]
        every = [text for part in read if isinstance(part, list) for text in part]
        offsets = any("offsets" in names or "special" in names for _, names in requests)
        encodings = iter(self._encoder.encode(every, offsets))
        return [
            part if isinstance(part, ValueError) else self._rows(part, [next(encodings) for _ in part], names)
            for part, (_, names) in zip(read, requests, strict=True)
        ]

    def _read(self, array: npt.NDArray[Any]) -> list[str] | ValueError:
        try:
            return read_texts(TEXT, "row", array, self._encoder.lower_case)
        except ValueError as error:
            return error

    def _rows(self, texts: list[str], encodings: list[Any], names: Collection[str]) -> Arrays | ValueError:
        try:
            for index, encoding in enumerate(encodings):
                self._encoder.require(encoding, place(TEXT, "row", index, len(encodings)))
        except ValueError as error:
            return error
        ids, widths = together([encoding.ids for encoding in encodings], self._encoder.pad_id)
        tokens = np.array([len(encoding) for encoding in encodings], dtype=np.int32)
        longest = int(tokens.max(initial=0))
        found: Arrays = {}
        if "input_ids" in names:
            found["input_ids"] = ids
        if "rows" in names:
            found["rows"] = np.stack([tokens, widths], axis=1)
        if "extent" in names:
            found["extent"] = extent(len(encodings), longest)
        if "num_input_tokens" in names:
            found["num_input_tokens"] = tokens[:, None]
        if "offsets" in names:
            found["offsets"] = _offsets(encodings, longest)
        if "special" in names:
            kinds = [self._words.kinds(*pair) for pair in zip(encodings, texts, strict=True)]
            found["special"] = padded(kinds, SPECIAL)
        return found


def _offsets(encodings: Sequence[Any], width: int) -> npt.NDArray[np.int32]:
    array = np.zeros((len(encodings), width, 2), dtype=np.int32)
    for row, encoding in enumerate(encodings):
        array[row, : len(encoding)] = spans(encoding)
    return array
