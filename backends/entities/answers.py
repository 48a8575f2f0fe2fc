"""A request of texts with their tokens' scores to the JSON of each text's entities."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.entities.spans import Entities
from backends.text.elements import place, read_texts

INPUTS = ("token_scores", "rows", "offsets", "special", "text_input")

# made once: json.dumps would make one for every text
_spell = json.JSONEncoder(ensure_ascii=False).encode


def answer(
    entities: Entities,
    *,
    token_scores: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int32],
    special: npt.NDArray[np.int32],
    text_input: npt.NDArray[Any],
) -> list[bytes]:
    """Return for each of b texts a JSON list of {"entity", "score", "start", "end", "text"}, in UTF-8.

    Args:
        entities: the labels, and how they are aggregated.
        token_scores: float32 [b, L, labels], L at least as many as the tokens of the longest text.
        rows: int32 [b, 2], (tokens, W).
        offsets: int32 [b, W, 2].
        special: int32 [b, W].
        text_input: bytes [b, 1].

    Raises:
        ValueError: a text is not UTF-8, or has more tokens than the other inputs have room for.
    """
    texts = read_texts("text_input", "row", text_input)
    room = min(token_scores.shape[1], offsets.shape[1], special.shape[1])
    found = []
    for row, (text, tokens) in enumerate(zip(texts, rows[:, 0].tolist(), strict=True)):
        if not 0 <= tokens <= room:
            where = place("rows", "row", row, len(texts))
            raise ValueError(
                f"{where}: {tokens} tokens, token_scores, offsets and special hold {room}; send what the "
                "tokenizer and the encoder of this model gave for the text"
            )
        one = entities.find(text, token_scores[row, :tokens], offsets[row, :tokens], special[row, :tokens])
        found.append(_spell(one).encode())
    return found
