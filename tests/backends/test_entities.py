"""Scores of tokens to entities, against transformers' pipeline and against scores written out by hand."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_folders import TEXTS, byte_level, column, minilm

from backends.entities.answers import answer
from backends.entities.spans import Entities
from backends.row_tokenizer.rows import Rows

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
STRATEGIES = ["simple", "first", "average", "max"]
ALL = ("input_ids", "rows", "offsets", "special")

# no tokenizer of whole words: transformers says that its guess of words is one
pytestmark = pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")


class Reference:
    """transformers' pipeline over a random BERT, and the same model's scores."""

    def __init__(self, folder: Path, labels: list[str]) -> None:
        import torch
        from transformers import AutoTokenizer, BertConfig, BertForTokenClassification
        from transformers.pipelines import TokenClassificationPipeline

        torch.manual_seed(1)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
            initializer_range=0.5,
        )
        self._model = BertForTokenClassification(config).eval()
        self._pipeline = TokenClassificationPipeline(model=self._model, tokenizer=tokenizer)
        self._torch = torch
        self.rows = Rows(folder, {"max_tokens": 512, "truncate": False, "pad_id": 0})
        self.labels = labels

    def entities(self, text: str, strategy: str) -> list[dict[str, Any]]:
        return list(self._pipeline(text, aggregation_strategy=strategy))

    def ours(self, texts: list[str], strategy: str) -> list[list[dict[str, Any]]]:
        """Return what the tokenizer, the model and the last step give for a request of several texts."""
        (arrays,) = self.rows.answer([(column(*texts), ALL)])
        assert isinstance(arrays, dict)
        ids, rows, shape = arrays.pop("input_ids").reshape(-1), arrays["rows"], arrays["special"].shape
        begins = np.cumsum(rows[:, 1]) - rows[:, 1]
        # the encoder pads to the longest text of its batch, which may be another request's
        scores = np.full((*shape, len(self.labels)), np.nan, dtype=np.float32)
        scores = np.pad(scores, ((0, 0), (0, 3), (0, 0)), constant_values=np.nan)
        for place, (begin, tokens) in enumerate(zip(begins, rows[:, 0], strict=True)):
            with self._torch.no_grad():
                logits = self._model(self._torch.tensor(ids[None, begin : begin + tokens].astype(np.int64)))
            scores[place, :tokens] = logits.logits[0].softmax(-1).numpy()
        found = answer(
            Entities(self.labels, strategy), token_scores=scores, text_input=column(*texts), **arrays
        )
        return [json.loads(one) for one in found]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(minilm(), LABELS)


def same(reference: Reference, texts: list[str], strategy: str) -> int:
    """Compare the entities of texts, and return how many there were."""
    number = 0
    for text, found in zip(texts, reference.ours(texts, strategy), strict=True):
        expected = reference.entities(text, strategy)
        assert [(one["entity"], one["start"], one["end"]) for one in found] == [
            (one["entity_group"], one["start"], one["end"]) for one in expected
        ], text
        assert np.allclose([one["score"] for one in found], [one["score"] for one in expected], atol=1e-5)
        assert [one["text"] for one in found] == [text[one["start"] : one["end"]] for one in expected]
        number += len(found)
    return number


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_entities_are_those_of_transformers(reference: Reference, strategy: str) -> None:
    words = ["Ada", "Lovelace", "embroidered", "antimacassars,", "Tromsø-by-the-Sea;", "Müller's", "zyzzyva"]
    texts = [text for text in TEXTS if text.strip()]
    texts += [" ".join(order) for order in itertools.islice(itertools.permutations(words), 0, None, 250)]
    assert same(reference, texts, strategy) > 100


@settings(deadline=None, max_examples=60)
@given(text=st.text(min_size=1, max_size=60), strategy=st.sampled_from(STRATEGIES))
def test_entities_of_any_text(reference: Reference, text: str, strategy: str) -> None:
    same(reference, [text], strategy)


def test_labels_that_are_no_begin_or_inside() -> None:
    reference = Reference(minilm(), ["NOUN", "VERB", "S-PER", "E-PER", "B-O", "O"])
    for strategy in STRATEGIES:
        assert same(reference, TEXTS[:6], strategy) > 8


def test_a_tokenizer_that_does_not_mark_what_continues_a_word(tmp_path: Path) -> None:
    reference = Reference(byte_level(tmp_path), LABELS)
    for strategy in STRATEGIES:
        assert same(reference, TEXTS[:6], strategy) > 8


def probabilities(*rows: str) -> np.ndarray:
    """Return scores: "I-PER 0.6" has 0.6 for that label, and the rest goes to O."""
    found = np.zeros((len(rows), len(LABELS)), dtype=np.float32)
    for place, one in enumerate(rows):
        label, score = one.split()
        found[place, 0] = 1 - float(score)
        found[place, LABELS.index(label)] = float(score)
    return found


TEXT = "Ann Smithson of Oslo"
OFFSETS = np.array([[0, 0], [0, 3], [4, 9], [9, 12], [13, 15], [16, 20], [0, 0]], dtype=np.int32)
SPECIAL = np.array([1, 0, 0, 2, 0, 0, 1], dtype=np.int32)
SCORES = probabilities("O 1", "B-PER 0.9", "I-PER 0.6", "B-LOC 0.8", "I-LOC 0.1", "B-LOC 0.75", "B-PER 1")


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        # the pieces of Smithson disagree: each for itself
        ("simple", [("PER", 0.75, 0, 9), ("LOC", 0.8, 9, 12), ("LOC", 0.75, 16, 20)]),
        # Smith's label for all of it
        ("first", [("PER", 0.75, 0, 12), ("LOC", 0.75, 16, 20)]),
        # O 0.3, I-PER 0.3, B-LOC 0.4
        ("average", [("PER", 0.9, 0, 3), ("LOC", 0.4, 4, 12), ("LOC", 0.75, 16, 20)]),
        # son is surer than Smith
        ("max", [("PER", 0.9, 0, 3), ("LOC", 0.8, 4, 12), ("LOC", 0.75, 16, 20)]),
    ],
)
def test_strategies_by_hand(strategy: str, expected: list[tuple[str, float, int, int]]) -> None:
    found = Entities(LABELS, strategy).find(TEXT, SCORES, OFFSETS, SPECIAL)
    assert [(one["entity"], one["start"], one["end"]) for one in found] == [
        (name, start, end) for name, _, start, end in expected
    ]
    assert [one["score"] for one in found] == pytest.approx([score for _, score, _, _ in expected])
    assert [one["text"] for one in found] == [TEXT[start:end] for _, _, start, end in expected]


def test_a_begin_starts_another_entity_of_the_same_tag() -> None:
    text, places = "A B C", np.array([[0, 1], [2, 3], [4, 5]], dtype=np.int32)
    scores = probabilities("I-PER 1", "B-PER 1", "I-PER 1")
    found = Entities(LABELS, "simple").find(text, scores, places, np.zeros(3, dtype=np.int32))
    assert [one["text"] for one in found] == ["A", "B C"]


def test_nothing_but_special_tokens_has_no_entities() -> None:
    scores = probabilities("B-PER 1", "B-PER 1")
    none = np.zeros((2, 2), dtype=np.int32)
    for strategy in STRATEGIES:
        entities = Entities(LABELS, strategy)
        assert entities.find("", scores, none, np.ones(2, dtype=np.int32)) == []
        assert entities.find("", scores[:0], none[:0], np.ones(0, dtype=np.int32)) == []


def request(**changed: Any) -> dict[str, Any]:
    whole = {
        "token_scores": np.stack([SCORES, SCORES]),
        "rows": np.array([[7, 7], [7, 7]], dtype=np.int32),
        "offsets": np.stack([OFFSETS, OFFSETS]),
        "special": np.stack([SPECIAL, SPECIAL]),
        "text_input": column(TEXT, TEXT),
    }
    return {**whole, **changed}


def test_the_answer_is_json_in_utf_8() -> None:
    text = "Åse Smithson of Oslo"
    first, second = answer(Entities(LABELS, "first"), **request(text_input=column(text, TEXT)))
    assert json.loads(first)[0]["text"] == "Åse Smithson"
    assert "Åse".encode() in first
    assert [*json.loads(second)[1]] == ["entity", "score", "start", "end", "text"]


@pytest.mark.parametrize("tokens", [8, -1])
def test_tokens_that_the_other_inputs_do_not_have_are_refused(tokens: int) -> None:
    rows = np.array([[7, 7], [tokens, 7]], dtype=np.int32)
    with pytest.raises(ValueError, match=rf"rows, row 2 of 2: {tokens} tokens, .* hold 7; send what"):
        answer(Entities(LABELS, "simple"), **request(rows=rows))


@pytest.mark.parametrize("name", ["token_scores", "offsets", "special"])
def test_each_of_the_other_inputs_must_have_room(name: str) -> None:
    with pytest.raises(ValueError, match=r"rows, row 1 of 2: 7 tokens, .* hold 6"):
        answer(Entities(LABELS, "simple"), **request(**{name: request()[name][:, :6]}))


def test_a_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(ValueError, match="text_input, row 1 of 2 is not valid UTF-8: byte 0"):
        answer(Entities(LABELS, "simple"), **request(text_input=column(b"\xff", TEXT)))


def test_an_unknown_strategy_names_those_that_exist() -> None:
    with pytest.raises(ValueError, match="strategy is 'none'; expected one of simple, first, average, max"):
        Entities(LABELS, "none")
