"""Texts to rows of ids, against transformers and against rows written out by hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_folders import TEXTS, byte_level, column, minilm, words

from backends.row_tokenizer.rows import Rows
from backends.text import limits

ALL = ("input_ids", "rows", "extent", "num_input_tokens", "offsets", "special")


def told(max_tokens: int = 256, truncate: bool = False, **more: Any) -> dict[str, Any]:
    return {"max_tokens": max_tokens, "truncate": truncate, "pad_id": 0, **more}


@pytest.fixture(scope="module")
def rows() -> Rows:
    return Rows(minilm(), told())


@pytest.fixture(scope="module")
def reference() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(minilm())


def same_as(reference: Any, rows: Rows, texts: list[str], **arguments: Any) -> None:
    """Compare every output for one request of many texts with what transformers gives for each text."""
    (found,) = rows.answer([(column(*texts), ALL)])
    assert isinstance(found, dict)
    longest = found["offsets"].shape[1]
    flat, begin = found["input_ids"].reshape(-1).tolist(), 0
    for place, text in enumerate(texts):
        expected = reference(text, return_special_tokens_mask=True, return_offsets_mapping=True, **arguments)
        tokens = len(expected["input_ids"])
        assert found["rows"][place, 0] == tokens
        assert found["num_input_tokens"][place].tolist() == [tokens]
        assert flat[begin : begin + tokens] == expected["input_ids"]
        begin += found["rows"][place, 1]
        assert found["offsets"][place, :tokens].tolist() == [list(one) for one in expected["offset_mapping"]]
        special = (found["special"][place] == 1).tolist()
        assert special == [bool(one) for one in expected["special_tokens_mask"]] + [True] * (longest - tokens)
    assert begin == len(flat)
    filling = flat[found["rows"][:, 0].sum() :]
    assert len(filling) < len(texts) and set(filling) <= {reference.pad_token_id}
    assert longest <= found["extent"].size < longest + len(texts)


def test_outputs_are_those_of_transformers(rows: Rows, reference: Any) -> None:
    same_as(reference, rows, TEXTS)


@pytest.mark.parametrize("max_tokens", [3, 8, 17])
def test_truncation_is_that_of_transformers(reference: Any, max_tokens: int) -> None:
    truncating = Rows(minilm(), told(max_tokens, truncate=True))
    same_as(reference, truncating, [*TEXTS, TEXTS[0] * 40], truncation=True, max_length=max_tokens)


@settings(deadline=None, max_examples=200)
@given(texts=st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_any_text_has_the_ids_of_transformers(rows: Rows, reference: Any, texts: list[str]) -> None:
    same_as(reference, rows, texts)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_tokenizer_of_bytes_and_the_side_that_is_cut(tmp_path: Path, side: str) -> None:
    from transformers import AutoTokenizer

    folder = byte_level(tmp_path, truncation_side=side)
    reference = AutoTokenizer.from_pretrained(folder)
    whole = Rows(folder, told(2000, pad_id=1))
    same_as(reference, whole, TEXTS)
    truncating = Rows(folder, told(9, truncate=True, pad_id=1))
    same_as(reference, truncating, TEXTS, truncation=True, max_length=9)


def test_the_rows_of_a_request_lie_one_after_the_other(tmp_path: Path) -> None:
    folder = words(tmp_path, ["a", "b", "c", "#"], special="#")
    answers = Rows(folder, told(pad_id=9)).answer(
        [(column("a b c", "b"), ALL), (column("c"), ALL), (column("a", "a b"), ALL)]
    )
    first, second, third = answers
    assert isinstance(first, dict) and isinstance(second, dict) and isinstance(third, dict)
    assert first["input_ids"].tolist() == [[3, 0, 1, 2], [3, 3, 1, 3]]
    assert first["rows"].tolist() == [[5, 5], [3, 3]]
    assert first["extent"].shape == (2, 3)
    assert first["num_input_tokens"].tolist() == [[5], [3]]
    assert first["offsets"].tolist() == [
        [[0, 0], [0, 1], [2, 3], [4, 5], [0, 0]],
        [[0, 0], [0, 1], [0, 0], [0, 0], [0, 0]],
    ]
    assert first["special"].tolist() == [[1, 0, 0, 0, 1], [1, 0, 1, 1, 1]]
    assert second["input_ids"].tolist() == [[3, 2, 3]]
    # one more than fits evenly: the last row takes what fills up
    assert third["input_ids"].tolist() == [[3, 0, 3, 3], [0, 1, 3, 9]]
    assert third["rows"].tolist() == [[3, 3], [4, 5]]
    assert third["extent"].shape == (2, 2)
    for name, array in {**first, **second, **third}.items():
        assert array.dtype == np.int32, name


def test_pieces_that_continue_a_word_are_told(rows: Rows) -> None:
    (found,) = rows.answer([(column("embeddings, yes"), ("special",))])
    # [CLS] em ##bed ##ding ##s , yes [SEP]
    assert isinstance(found, dict)
    assert found["special"].tolist() == [[1, 0, 2, 2, 2, 0, 0, 1]]


def test_only_what_is_asked_for_is_made(rows: Rows) -> None:
    for names in (("input_ids",), ("rows", "num_input_tokens"), ("offsets",), ALL):
        (found,) = rows.answer([(column("Hello"), names)])
        assert isinstance(found, dict)
        assert set(found) == set(names)


def test_requests_that_ask_for_different_outputs_share_a_batch(rows: Rows) -> None:
    asked = [(column(TEXTS[0], TEXTS[4]), ("input_ids",)), (column(TEXTS[1]), ALL)]
    together = rows.answer(asked)
    for one, answer in zip(asked, together, strict=True):
        (alone,) = rows.answer([one])
        assert isinstance(alone, dict) and isinstance(answer, dict)
        assert alone.keys() == answer.keys()
        for name in alone:
            np.testing.assert_array_equal(answer[name], alone[name], strict=True)


def test_truncation_and_padding_of_the_file_are_ignored(rows: Rows) -> None:
    # this file says: cut at 128, fill up to 128
    answers = rows.answer([(column("a " * 200), ALL), (column("a"), ALL)])
    lengths = [answer["rows"].tolist() for answer in answers if isinstance(answer, dict)]
    assert lengths == [[[202, 202]], [[3, 3]]]


def test_bad_texts_fail_alone_and_say_why(rows: Rows) -> None:
    long = "word " * 300
    asked = [
        (column("fine"), ALL),
        (column(long), ALL),
        (column("fine", long), ALL),
        (column("fine", b"ab\xff\xfe", "fine"), ALL),
        (column("fine too"), ALL),
    ]
    answers = rows.answer(asked)
    remedy = "shorten the text, or build with a recipe that says truncate = true"
    assert [str(answer) for answer in answers if isinstance(answer, ValueError)] == [
        f"text_input: 302 tokens, the model reads at most 256; {remedy}",
        f"text_input, row 2 of 2: 302 tokens, the model reads at most 256; {remedy}",
        "text_input, row 2 of 3 is not valid UTF-8: byte 2 is 0xff, invalid start byte; send text encoded "
        "as UTF-8",
    ]
    for place in (0, 4):
        (alone,) = rows.answer([asked[place]])
        together = answers[place]
        assert isinstance(alone, dict) and isinstance(together, dict)
        assert together["input_ids"].tolist() == alone["input_ids"].tolist()


def test_the_limit_itself_is_not_too_long(rows: Rows) -> None:
    within, beyond = rows.answer([(column("a " * 254), ("rows",)), (column("a " * 255), ("rows",))])
    assert isinstance(within, dict) and within["rows"].tolist() == [[256, 256]]
    assert isinstance(beyond, ValueError) and "257 tokens" in str(beyond)


def test_a_batch_of_bad_texts_only(rows: Rows) -> None:
    answers = rows.answer([(column(b"\xc3"), ALL), (column(b"\xed\xa0\x80"), ALL)])
    assert ["not valid UTF-8: byte 0" in str(answer) for answer in answers] == [True, True]


def test_an_empty_text_needs_a_template(rows: Rows, tmp_path: Path) -> None:
    (found,) = rows.answer([(column(""), ALL)])
    assert isinstance(found, dict) and found["rows"].tolist() == [[2, 2]]
    (refused,) = Rows(words(tmp_path, ["a"]), told()).answer([(column(""), ALL)])
    assert str(refused) == "text_input: 0 tokens, the model needs at least 1; send a text that is not empty"


def test_a_text_that_the_tokenizer_cannot_encode_fails_alone(tmp_path: Path) -> None:
    # there is no token for unknown words
    rows = Rows(words(tmp_path, ["a", "b"]), told())
    good, bad = rows.answer([(column("a b"), ALL), (column("a strange"), ALL)])
    assert isinstance(good, dict) and good["input_ids"].tolist() == [[0, 1]]
    assert str(bad).startswith("text_input: the tokenizer cannot encode the text: ")


def test_a_text_is_lowered_before_a_tokenizer_that_minds_case(tmp_path: Path) -> None:
    folder = words(tmp_path, ["[UNK]", "ab", "AB", "i\u0307"])
    asked = [(column("Ab AB İ"), ("input_ids",))]
    plain, lowered = (Rows(folder, told(lower_case=flag)).answer(asked)[0] for flag in (False, True))
    assert isinstance(plain, dict) and plain["input_ids"].tolist() == [[0, 2, 0]]
    assert isinstance(lowered, dict) and lowered["input_ids"].tolist()[0][:2] == [1, 1]


def test_a_tokenizers_without_the_fast_batch_gives_the_same(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Older:
        """What tokenizers offered before 0.20."""

        def __init__(self, tokenizer: Any) -> None:
            self._tokenizer = tokenizer
            for name in ("encode_batch", "no_padding", "no_truncation", "token_to_id", "model"):
                setattr(self, name, getattr(tokenizer, name))

        @classmethod
        def from_file(cls, path: str) -> Older:
            return cls(newer.from_file(path))

    newer = limits.Tokenizer
    monkeypatch.setattr(limits, "Tokenizer", Older)
    older = Rows(minilm(), told())
    asked = [(column(*TEXTS), ("input_ids",))]
    (found,), (expected,) = older.answer(asked), rows.answer(asked)
    assert isinstance(found, dict) and isinstance(expected, dict)
    np.testing.assert_array_equal(found["input_ids"], expected["input_ids"], strict=True)


def test_threads_are_those_of_the_environment_if_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKENIZERS_PARALLELISM", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    limits.allow_threads()
    assert os.environ["TOKENIZERS_PARALLELISM"] == "true"
    assert int(os.environ["RAYON_NUM_THREADS"]) == min(limits.THREADS, len(os.sched_getaffinity(0)))
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("RAYON_NUM_THREADS", "3")
    limits.allow_threads()
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"
    assert os.environ["RAYON_NUM_THREADS"] == "3"
