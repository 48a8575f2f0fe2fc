"""What was lost on held-out texts: against numbers worked by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from builder.calibration import texts
from builder.errors import UsageError
from builder.planning import judging
from builder.planning.asked import Options
from builder.proving import held_out, loss
from builder.quantization import Limits

LIMITS = Limits(perplexity=1.1, divergence=0.05, agreement=0.9)


def row(number: int = 1, **changes: object) -> dict[str, object]:
    values = {"text": number, "tokens": 2, "finite": True, "source_loss": 2.0, "loss": 3.0, "agreed": 1}
    values["opening"] = f"text {number}"
    return {**values, "divergence": [0.1, 0.3], **changes}


def test_two_tokens_by_hand() -> None:
    # p = (1/4, 1/4, 1/2) and (1/2, 1/4, 1/4); q uniform, and as p
    source = torch.tensor([[0.0, 0.0, math.log(2)], [math.log(2), 0.0, 0.0]])
    artifact = torch.stack([torch.zeros(3), source[1] + 5.0])
    found = held_out.compare(source, artifact, torch.tensor([2, 1]))
    assert found["tokens"] == 2 and found["finite"]
    assert found["source_loss"] == pytest.approx(math.log(2) + math.log(4), abs=1e-6)
    assert found["loss"] == pytest.approx(math.log(3) + math.log(4), abs=1e-6)
    by_hand = 0.5 * math.log(3 / 4) + 0.5 * math.log(3 / 2)
    assert found["divergence"] == pytest.approx([by_hand, 0.0], abs=1e-6)
    # of three that are equal the first is taken for the likeliest
    assert found["agreed"] == 1


def test_what_the_source_never_expects_is_no_loss() -> None:
    source = torch.tensor([[0.0, -math.inf]])
    found = held_out.compare(source, torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
    assert found["divergence"] == pytest.approx([math.log(2)])
    assert not found["finite"]


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=9), st.floats(-50, 50))
def test_the_same_distribution_is_no_divergence(numbers: list[float], shift: float) -> None:
    source = torch.tensor([numbers])
    found = held_out.compare(source, source + shift, torch.tensor([0]))
    assert found["divergence"] == pytest.approx([0.0], abs=1e-4)
    assert found["loss"] == pytest.approx(found["source_loss"], abs=1e-4)


def test_what_is_summed() -> None:
    found = loss.summarise([row(1), row(2, divergence=[0.5, 0.7], agreed=2)], "mine.jsonl", "digest")
    assert (found.sequences, found.tokens, found.agreement) == (2, 4, 0.75)
    assert found.source_perplexity == pytest.approx(math.exp(4 / 4), abs=1e-6)
    assert found.perplexity == pytest.approx(math.exp(6 / 4), abs=1e-6)
    assert found.ratio == pytest.approx(math.exp(0.5), abs=1e-6)
    assert found.divergence == pytest.approx((0.1 + 0.3 + 0.5 + 0.7) / 4)
    assert [text.number for text in found.worst] == [2, 1]
    assert found.shown() == "; worst texts: 2 ('text 2', 0.600 nats), 1 ('text 1', 0.200 nats)"
    kept = found.to_json()
    assert kept["ratio"] == pytest.approx(found.ratio, abs=1e-6)
    # the texts may be the user's own: the manifest names them by their numbers
    assert kept["worst"] == [{"number": 2, "divergence": 0.6}, {"number": 1, "divergence": 0.2}]


def test_what_is_no_number_is_the_worst() -> None:
    found = loss.summarise([row(1), row(2, divergence=[math.nan, 0.1])], "mine.jsonl", "digest")
    assert found.worst[0].number == 2
    assert found.missed(LIMITS)


def test_a_loss_beyond_all_numbers_is_infinite() -> None:
    found = loss.summarise([row(loss=1e6)], "shipped", "")
    assert found.perplexity == math.inf
    assert found.missed(LIMITS)


def _runs(pieces: list[str]) -> Iterator[tuple[str, ...]]:
    """Give all runs of 16 pieces with words in them: the rule under the head of a table is in many texts."""
    for place in range(len(pieces) - 16):
        run = tuple(pieces[place : place + 16])
        if any(piece.isalpha() for piece in run):
            yield run


def test_the_shipped_texts_are_many_and_others_than_those_for_scales() -> None:
    held, made_with = texts.read(texts.HELD_OUT, "--evaluate"), texts.read()
    assert held.name == made_with.name == "shipped"
    # about four letters are a token: at least 20,000 of them, each text cut to those that are used
    letters = [len(texts._text(one)[: 4 * texts.READ]) for one in held.prompts]
    assert sum(letters) / 4 > 20_000
    ours, theirs = ({run for one in data.pieces() for run in _runs(one)} for data in (held, made_with))
    assert ours and not ours & theirs


def chosen(limits: Limits) -> Any:
    return SimpleNamespace(name="int4", quantization=SimpleNamespace(budget=SimpleNamespace(held_out=limits)))


def test_limits_are_those_of_the_precision_unless_recipe_or_option_say_otherwise() -> None:
    found = partial(judging.limits, "generation")
    nothing: Any = SimpleNamespace(limits={"int8": Limits(9.0, 9.0, 0.1)})
    own: Any = SimpleNamespace(limits={"int4": Limits(2.0, 1.0, 0.5)})
    assert found(nothing, chosen(LIMITS), Options()) == LIMITS
    assert found(own, chosen(LIMITS), Options()) == Limits(2.0, 1.0, 0.5)
    asked = Options(max_perplexity_ratio=1.5, min_agreement=0.0)
    assert found(nothing, chosen(LIMITS), asked) == Limits(1.5, 0.05, 0.0)
    assert found(own, chosen(LIMITS), asked) == Limits(1.5, 1.0, 0.0)


def test_models_of_one_pass_have_no_such_limits() -> None:
    nothing: Any = SimpleNamespace(limits={})
    assert judging.limits("single_pass", nothing, chosen(LIMITS), Options()) is None
    with pytest.raises(UsageError, match="--max-divergence, --evaluate") as refused:
        asked = Options(max_divergence=1.0, evaluation="texts.jsonl")
        judging.limits("single_pass", nothing, chosen(LIMITS), asked)
    assert "leave them out" in str(refused.value.remedy)


def test_texts_that_cannot_be_read_are_refused_when_planning() -> None:
    with pytest.raises(UsageError, match="--evaluate nowhere"):
        nothing: Any = SimpleNamespace(limits={})
        judging.limits("generation", nothing, chosen(LIMITS), Options(evaluation="nowhere.jsonl"))
