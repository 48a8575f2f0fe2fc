"""Which tokens continue a word, in the eyes of transformers' TokenClassificationPipeline."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from backends.text.limits import tokenizer_config
from backends.text.pieces import CONTINUES


def spans(encoding: Any) -> npt.NDArray[np.int32]:
    """Return int32 [n,2], the characters [begin, end) of each token of an Encoding that has offsets."""
    return np.fromiter(chain.from_iterable(encoding.offsets), np.int32, 2 * len(encoding)).reshape(-1, 2)


class Words:
    """Tells the words of one tokenizer.

    Where pieces that continue a word are marked (WordPiece's "##"), a piece continues one when its spelling
    is not as long as what it stands for; elsewhere when neither it nor the character before it is a space.
    What the tokenizer does not know begins a word.
    """

    def __init__(self, tokenizer: Tokenizer, folder: Path) -> None:
        self._marked = bool(getattr(tokenizer.model, "continuing_subword_prefix", None))
        told = tokenizer_config(folder).get("unk_token") or getattr(tokenizer.model, "unk_token", None)
        unknown = told["content"] if isinstance(told, dict) else told
        self._unknown = None if unknown is None else tokenizer.token_to_id(unknown)

    def kinds(self, encoding: Any, text: str) -> list[int]:
        """Return BEGINS, SPECIAL or CONTINUES for each token of an Encoding that has offsets."""
        mask = np.array(encoding.special_tokens_mask, dtype=np.int32)
        continues = self._continues(encoding, text) & (mask == 0)
        if self._unknown is not None:
            continues &= np.array(encoding.ids, dtype=np.int32) != self._unknown
        return list(np.where(continues, CONTINUES, mask).tolist())

    def _continues(self, encoding: Any, text: str) -> npt.NDArray[np.bool_]:
        if not self._marked:
            found = [begin > 0 and " " not in text[begin - 1 : begin + 1] for begin, _ in encoding.offsets]
            return np.array(found, dtype=np.bool_)
        offsets = spans(encoding)
        spelled = np.array([len(token) for token in encoding.tokens], dtype=np.int32)
        return np.not_equal(spelled, offsets[:, 1] - offsets[:, 0])
