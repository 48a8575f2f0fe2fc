"""Text to ids: the BOS rule, batches, and text that must stay text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.text.encoding import Encoder


@pytest.fixture(scope="session")
def framed(sentence_piece_folder: Path) -> Encoder:
    """An encoder whose template puts <s> first."""
    return Encoder(sentence_piece_folder, bos_id=1)


def test_bos_comes_first_and_is_not_doubled(framed: Encoder) -> None:
    plain = framed.encode("hello", add_special_tokens=False)
    assert 1 not in plain
    assert framed.encode("hello") == [1, *plain]
    assert framed.encode("<s>hello") == [1, *plain]
    assert framed.encode("<s>hello", add_special_tokens=False) == [1, *plain]


def test_bos_in_the_middle_does_not_count_as_first(framed: Encoder) -> None:
    assert framed.encode("he<s>llo").count(1) == 2


def test_without_bos_id_the_template_always_adds(sentence_piece_folder: Path) -> None:
    assert Encoder(sentence_piece_folder, bos_id=None).encode("<s>hello")[:2] == [1, 1]


@given(texts=st.lists(st.one_of(st.text(max_size=20), st.sampled_from(["<s>hello", "", " ", "<s>"]))))
def test_batch_equals_singles(framed: Encoder, texts: list[str]) -> None:
    assert framed.encode_batch(texts) == [framed.encode(text) for text in texts]


@given(
    parts=st.lists(
        st.one_of(st.text(max_size=6), st.sampled_from(["<|im_end|>", "<|im_start|>", "<|endoftext|>"]))
    )
)
def test_plain_text_of_a_byte_level_tokenizer_yields_no_added_id(encoder: Encoder, parts: list[str]) -> None:
    ids = encoder.encode_plain("".join(parts))
    assert all(token > 16 for token in ids)


@given(
    parts=st.lists(st.sampled_from(["<s>", "</s>", "<unk>", "[END]", "<", "s>", "hello", " ", "世", "🙂"]))
)
def test_plain_text_of_a_sentence_piece_tokenizer_yields_no_added_id(
    framed: Encoder, parts: list[str]
) -> None:
    added = {framed.encode(token, add_special_tokens=False)[-1] for token in framed.added}
    assert len(added) == 4
    assert not added & set(framed.encode_plain("".join(parts)))


def test_size_counts_added_tokens(encoder: Encoder) -> None:
    assert encoder.size == 49152
