"""What NVIDIA's preprocessing and tensorrt_llm_bls make of a request, worked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.nvidia import streaming
from backends.nvidia.prompts import Prompts, word_lists
from backends.nvidia.streaming import Texts
from backends.text.decoding import Vocabulary
from backends.text.encoding import Encoder


@pytest.fixture(scope="module")
def encoder(sentence_piece_folder: Path) -> Encoder:
    return Encoder(sentence_piece_folder, bos_id=1)


def strings(*rows: list[str]) -> Any:
    return np.array([[word.encode() for word in row] for row in rows], dtype=np.object_)


def test_words_are_ids_filled_up_with_0_and_ends_filled_up_with_minus_1() -> None:
    assert word_lists([[[5], [6, 7, 8]], [[9, 10]], []]).tolist() == [
        [[5, 6, 7, 8], [1, 4, -1, -1]],
        [[9, 10, 0, 0], [2, -1, -1, -1]],
        [[0, 0, 0, 0], [-1, -1, -1, -1]],
    ]
    assert word_lists([[]]).tolist() == [[[0], [-1]]]


def test_rows_of_a_batch_are_padded_and_have_words_of_their_own(encoder: Encoder) -> None:
    made = Prompts(encoder, end_id=2, pad_id=0).encode(
        {
            "QUERY": strings(["hello"], ["hello hello w"]),
            "REQUEST_OUTPUT_LEN": np.array([[4], [5]], np.int32),
            "STOP_WORDS_DICT": strings(["w", ""], ["hello", "w"]),
        }
    )
    lengths = made["REQUEST_INPUT_LEN"].reshape(-1).tolist()
    rows = [encoder.encode(text) for text in ("hello", "hello hello w")]
    assert lengths == [len(row) for row in rows] and lengths[0] < lengths[1]
    assert made["INPUT_ID"].tolist() == [rows[0] + [0] * (lengths[1] - lengths[0]), rows[1]]
    hello, w = (encoder.encode(word, add_special_tokens=False) for word in ("hello", "w"))
    assert made["STOP_WORDS_IDS"][0, :, : len(w)].tolist() == [w, [len(w), *[-1] * (len(w) - 1)]]
    assert made["STOP_WORDS_IDS"][1, 0].tolist() == [*hello, *w]
    assert made["BAD_WORDS_IDS"].shape == (2, 2, 0) and made["EMBEDDING_BIAS"].shape == (2, 0)
    assert made["OUT_END_ID"].tolist() == [[2], [2]] and made["DECODER_INPUT_ID"].tolist() == [[0], [0]]
    assert {name: array.dtype for name, array in made.items() if array.dtype != np.int32} == {
        "EMBEDDING_BIAS": np.float32,
        "OUT_PROMPT_TABLE_EXTRA_IDS": np.uint64,
    }


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"IMAGE_BYTES": np.zeros((1, 1, 1, 1, 3), np.uint8)}, "leave out IMAGE_BYTES"),
        ({"EMBEDDING_BIAS_WEIGHTS": np.ones((1, 2), np.float32)}, "0 words and EMBEDDING_BIAS_WEIGHTS 2"),
        ({"STOP_WORDS_DICT": np.array([[b"\xff"]], np.object_)}, "STOP_WORDS_DICT is not valid UTF-8"),
    ],
)
def test_a_bad_request_is_refused_by_name(encoder: Encoder, more: dict[str, Any], words: str) -> None:
    usual = {"QUERY": strings(["hello"]), "REQUEST_OUTPUT_LEN": np.array([[4]], np.int32)}
    with pytest.raises(ValueError, match=words):
        Prompts(encoder, 2, 2).encode({**usual, **more})
    with pytest.raises(ValueError, match="nothing for use_draft_logits"):
        streaming.asked({"use_draft_logits": np.array([True])}, {})


def answer(ids: list[list[int]], **more: int) -> dict[str, Any]:
    return {
        "output_ids": np.array([ids], np.int32),
        "sequence_length": np.array([[sum(one >= 0 for one in row) for row in ids]], np.int32),
        **{name: np.array([[value]], np.int32) for name, value in more.items()},
    }


def test_each_sequence_is_decoded_by_itself(sentence_piece_folder: Path) -> None:
    vocabulary = Vocabulary.load(sentence_piece_folder / "tokenizer.json")
    hello = Encoder(sentence_piece_folder, 1).encode("hello", add_special_tokens=False)[0]
    # the two bytes of one character; a byte's id is three more than it
    first, second = (byte + 3 for byte in "ü".encode())
    texts, whole = Texts(vocabulary, accumulate=False), Texts(vocabulary, accumulate=True)
    told = [
        answer([[first]], sequence_index=0),
        answer([[hello, hello]], sequence_index=1),
        answer([[second, -1], [hello, hello]], sequence_index=0),
        answer([[hello]], sequence_index=0, batch_index=1),
    ]
    read = [[text.decode() for text in texts.read(one)] for one in told]
    assert read == [[""], ["hello hello"], ["ü", "hello hello"], ["hello"]]
    accumulated = [whole.read(one)[0].decode() for one in (told[1], told[1])]
    assert accumulated == ["hello hello", "hello hello hello hello"]
