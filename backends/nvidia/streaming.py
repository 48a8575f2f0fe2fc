"""Answers of the engine as those of tensorrt_llm_bls: the same tensors, and text where ids were."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.engine.triton_model import Arrays
from backends.text.decoding import Decoder, Vocabulary

# input of the front -> of preprocessing
PROMPT: Mapping[str, str] = {
    "text_input": "QUERY",
    "decoder_text_input": "DECODER_QUERY",
    "max_tokens": "REQUEST_OUTPUT_LEN",
    "bad_words": "BAD_WORDS_DICT",
    "stop_words": "STOP_WORDS_DICT",
    "embedding_bias_words": "EMBEDDING_BIAS_WORDS",
    "embedding_bias_weights": "EMBEDDING_BIAS_WEIGHTS",
    "end_id": "END_ID",
    "pad_id": "PAD_ID",
    "prompt_table_extra_id": "PROMPT_TABLE_EXTRA_ID",
}

# output of preprocessing -> input of the engine
ENCODED: Mapping[str, str] = {
    "INPUT_ID": "input_ids",
    "DECODER_INPUT_ID": "decoder_input_ids",
    "REQUEST_INPUT_LEN": "input_lengths",
    "REQUEST_DECODER_INPUT_LEN": "decoder_input_lengths",
    "REQUEST_OUTPUT_LEN": "request_output_len",
    "OUT_END_ID": "end_id",
    "OUT_PAD_ID": "pad_id",
    "EMBEDDING_BIAS": "embedding_bias",
    "STOP_WORDS_IDS": "stop_words_list",
    "BAD_WORDS_IDS": "bad_words_list",
    "OUT_PROMPT_TABLE_EXTRA_IDS": "prompt_table_extra_ids",
}

# input of the front -> of the engine, where it is called otherwise
RENAMED: Mapping[str, str] = {
    "top_k": "runtime_top_k",
    "top_p": "runtime_top_p",
    "length_penalty": "len_penalty",
    "stream": "streaming",
}

REFUSED = frozenset(
    ("image_input", "image_bytes_input", "image_url_input", "video_bytes_input", "num_draft_tokens")
) | {"use_draft_logits"}
"""Of models that see, and of a draft as a model of its own."""


def asked(inputs: Arrays, encoded: Arrays) -> dict[str, npt.NDArray[Any]]:
    """Return the engine's inputs, given the front's and what preprocessing made of them.

    What Triton has reshaped to [] gets its dimension again: the engine's model takes it away by itself.
    """
    refused = sorted(REFUSED & set(inputs))
    if refused:
        raise ValueError(f"this deployment has nothing for {', '.join(refused)}: leave it out")
    rest = {RENAMED.get(name, name): array for name, array in inputs.items() if name not in PROMPT}
    one = {name: array.reshape(-1, 1) if array.ndim == 1 else array for name, array in rest.items()}
    return {**one, **{name: encoded[output] for output, name in ENCODED.items()}}


WHOSE = frozenset({"batch_index", "sequence_index"})
"""Outputs that tell the rows and sequences of a request apart; they come where there are several."""

_Place = tuple[int, int, int]


class Texts:
    """The text of every row, sequence and beam of one request, decoded as it comes.

    Where it is to `accumulate`, each answer has all text so far.
    """

    def __init__(self, vocabulary: Vocabulary, accumulate: bool) -> None:
        self._accumulate = accumulate
        self._decoders: dict[_Place, Decoder] = defaultdict(lambda: Decoder(vocabulary))
        self._told: dict[_Place, str] = defaultdict(str)

    def read(self, answer: Arrays) -> npt.NDArray[np.object_]:
        """Return the text of an answer's beams, [beams] of bytes."""
        row, sequence = (int(answer[name].reshape(-1)[0]) if name in answer else 0 for name in sorted(WHOSE))
        lengths = answer["sequence_length"].reshape(-1)
        beams = answer["output_ids"].reshape(len(lengths), -1)
        found = [
            self._text((row, sequence, beam), ids[: int(length)].tolist())
            for beam, (ids, length) in enumerate(zip(beams, lengths, strict=True))
        ]
        return np.array([text.encode() for text in found], dtype=np.object_)

    def _text(self, place: _Place, ids: list[int]) -> str:
        text = self._decoders[place].push(ids)
        if not self._accumulate:
            return text
        self._told[place] += text
        return self._told[place]
