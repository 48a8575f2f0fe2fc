"""A query with its documents to pairs of ids, against transformers and against arrays written out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_folders import TEXTS, byte_level, column, minilm, row, words

from backends.pair_tokenizer.pairs import Arrays, answer
from backends.text.limits import LimitedEncoder


def told(max_tokens: int = 512, truncate: bool = False, **more: Any) -> dict[str, Any]:
    return {"max_tokens": max_tokens, "truncate": truncate, "pad_id": 0, **more}


@pytest.fixture(scope="module")
def encoder() -> LimitedEncoder:
    return LimitedEncoder(minilm(), told())


@pytest.fixture(scope="module")
def reference() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(minilm())


def one(encoder: LimitedEncoder, query: Any, documents: Any) -> Arrays:
    (found,) = answer(encoder, [(query, documents)])
    assert isinstance(found, Arrays), found
    return found


def same_as(
    reference: Any, encoder: LimitedEncoder, query: str, documents: list[str], **arguments: Any
) -> None:
    """Compare the pairs of one query with what transformers gives."""
    found = one(encoder, column(query), row(*documents))
    # in lists, as CrossEncoder asks it: of a single pair transformers forgets an empty document
    queries = [query] * len(documents)
    expected = reference(queries, documents, return_token_type_ids=True, **arguments)
    lengths = [len(ids) for ids in expected["input_ids"]]
    firsts = [[*types, 1].index(1) for types in expected["token_type_ids"]]
    ids = [index for ids in expected["input_ids"] for index in ids]
    assert found.input_ids.ravel().tolist()[: len(ids)] == ids
    assert found.rows[:, 0].tolist() == lengths
    assert found.rows[:, 2].tolist() == firsts
    # what fills the last row up is the last pair's
    assert found.rows[:-1, 1].tolist() == lengths[:-1]
    assert found.rows[:, 1].sum() == found.input_ids.size < len(ids) + len(lengths)
    assert max(lengths) <= found.extent.size < max(lengths) + len(lengths)
    assert found.queries.tolist() == [[0]] * len(documents)


def test_a_request_has_no_more_pairs_than_a_batch_has_rows(encoder: LimitedEncoder) -> None:
    four = np.concatenate([row("b", "c"), row("d", "e")])
    asked = [
        (column("a"), row("b", "c", "d")),
        (column("a"), row("b", "c", "d", "e")),
        (column("a", "z"), four),
        (column("a", "z", "y"), column("b", "c", "d")),
    ]
    first, *refused, last = answer(encoder, asked, most=3)
    assert isinstance(first, Arrays) and isinstance(last, Arrays)
    assert (len(first.rows), len(last.rows)) == (3, 3)
    assert [str(one) for one in refused] == [
        "documents: 4 documents, a request may have 3 in all; send them in several requests",
        "documents: 2 queries with 2 documents each, a request may have 3 in all; "
        "send them in several requests",
    ]
    assert all(isinstance(found, Arrays) for found in answer(encoder, asked))


def test_few_encodings_are_in_memory_at_the_same_time(encoder: LimitedEncoder) -> None:
    class Watched(LimitedEncoder):
        most = 0

        def __init__(self) -> None:
            self.__dict__.update(encoder.__dict__)

        def encode(self, inputs: Any, offsets: bool = False) -> list[Any]:
            self.most = max(self.most, len(inputs))
            return super().encode(inputs, offsets)

    watched = Watched()
    documents = [f"{number} birds" for number in range(64)]
    asked = [(column(query), row(*documents)) for query in ("a", "b", "c")]
    for found, theirs in zip(answer(watched, asked), answer(encoder, asked), strict=True):
        assert isinstance(found, Arrays) and isinstance(theirs, Arrays)
        for mine, other in zip(found, theirs, strict=True):
            np.testing.assert_array_equal(mine, other, strict=True)
    assert watched.most == 64


@pytest.mark.parametrize("names", [["input_ids", "attention_mask"], ["input_ids", "token_type_ids"]])
def test_types_are_told_unless_the_checkpoint_says_otherwise(names: list[str], tmp_path: Path) -> None:
    vocabulary = ["[UNK]", "#", "a", "b"]
    folder = words(tmp_path, vocabulary, "#", model_input_names=names)
    found = one(LimitedEncoder(folder, told()), column("a"), row("b a"))
    # "# a #" before "b a #"
    assert found.rows[:, 2].tolist() == [3 if "token_type_ids" in names else 6]


def test_pairs_are_those_of_transformers(encoder: LimitedEncoder, reference: Any) -> None:
    for query in TEXTS[:4]:
        same_as(reference, encoder, query, TEXTS)


@pytest.mark.parametrize("max_tokens", [4, 9, 20])
def test_truncation_takes_from_the_longer_text_as_transformers_does(reference: Any, max_tokens: int) -> None:
    truncating = LimitedEncoder(minilm(), told(max_tokens, truncate=True))
    for query in ("fox", TEXTS[0], TEXTS[0] * 9):
        same_as(reference, truncating, query, [*TEXTS, TEXTS[1] * 20], truncation=True, max_length=max_tokens)


@settings(deadline=None, max_examples=100)
@given(query=st.text(max_size=40), documents=st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_any_pair_has_the_ids_of_transformers(
    encoder: LimitedEncoder, reference: Any, query: str, documents: list[str]
) -> None:
    same_as(reference, encoder, query, documents)


def test_a_family_of_one_type_counts_all_tokens_as_the_first_text(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = byte_level(tmp_path)
    encoder = LimitedEncoder(folder, told())
    same_as(AutoTokenizer.from_pretrained(folder), encoder, "hello", ["hello world", "", "lo"])
    found = one(encoder, column("hello"), row("hello world", ""))
    assert found.rows[:, 2].tolist() == found.rows[:, 0].tolist()


def test_pairs_of_several_queries_by_hand(tmp_path: Path) -> None:
    encoder = LimitedEncoder(words(tmp_path, ["a", "b", "c", "#"], special="#"), told(pad_id=9))
    documents = np.concatenate([row("b b", "c"), row("c", "")])
    found = one(encoder, column("a", "b a"), documents)
    # 22 ids in 4 rows of 6
    assert found.input_ids.tolist() == [
        [3, 0, 3, 1, 1, 3],
        [3, 0, 3, 2, 3, 3],
        [1, 0, 3, 2, 3, 3],
        [1, 0, 3, 3, 9, 9],
    ]
    assert found.rows.tolist() == [[6, 6, 3], [5, 5, 3], [6, 6, 4], [5, 7, 4]]
    assert found.queries.tolist() == [[0], [0], [1], [1]]
    assert found.extent.shape == (4, 2)
    assert {array.dtype for array in found} == {np.dtype(np.int32)}


def test_requests_share_a_batch_without_meeting(encoder: LimitedEncoder) -> None:
    asked = [(column("q"), row(*TEXTS)), (column("another query"), row("x")), (column(""), row("", "y"))]
    for alone, together in zip(asked, answer(encoder, asked), strict=True):
        for mine, theirs in zip(one(encoder, *alone), together, strict=True):  # type: ignore[arg-type]
            np.testing.assert_array_equal(mine, theirs, strict=True)


def test_bad_requests_fail_alone_and_name_the_document(encoder: LimitedEncoder) -> None:
    long = "word " * 600
    asked = [
        (column("fine"), row("fine")),
        (column("fine"), row("fine", long, "fine")),
        (column("fine", "fine"), np.concatenate([row("a", "b"), row("c", long)])),
        (column("fine"), row()),
        (column(b"\xff"), row("fine")),
        (column("fine"), row("fine", b"caf\xe9")),
        (column("also fine"), row("fine")),
    ]
    answers = answer(encoder, asked)
    remedy = "shorten the text, or build with a recipe that says truncate = true"
    assert [str(found) for found in answers if isinstance(found, ValueError)] == [
        f"query with document 2 of 3: 604 tokens, the model reads at most 512; {remedy}",
        f"row 2 of 2, query with document 2 of 2: 604 tokens, the model reads at most 512; {remedy}",
        "documents: 0 documents, a query needs at least 1; send the texts to rank",
        "query is not valid UTF-8: byte 0 is 0xff, invalid start byte; send text encoded as UTF-8",
        "documents, document 2 of 2 is not valid UTF-8: byte 3 is 0xe9, unexpected end of data; send text "
        "encoded as UTF-8",
    ]
    assert [isinstance(found, Arrays) for found in answers] == [True, *[False] * 5, True]


def test_both_texts_are_lowered(tmp_path: Path) -> None:
    encoder = LimitedEncoder(words(tmp_path, ["[UNK]", "ab", "AB"]), told(lower_case=True))
    assert one(encoder, column("AB"), row("aB")).input_ids.tolist() == [[1, 1]]
