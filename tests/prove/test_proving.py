"""The arithmetic of the proof, on numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from builder.proving import golden, prompts, reference

ROWS = arrays("float64", (3, 5), elements=st.floats(-50, 50))


def test_log_softmax_of_one_and_three():
    found = reference.log_softmax(np.array([[0.0, math.log(3)], [7.0, 7.0]]))
    assert found == pytest.approx(np.log([[0.25, 0.75], [0.5, 0.5]]))


def test_log_softmax_of_large_logits():
    found = reference.log_softmax(np.array([[1e4, 0.0], [-1e4, -1e4]]))
    assert found == pytest.approx(np.array([[0.0, -1e4], [math.log(0.5)] * 2]))


def test_divergence_by_hand():
    source = np.array([[0.0, math.log(3)], [1.0, 1.0]])
    artifact = np.array([[0.0, 0.0], [1.0, 1.0]])
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert reference.divergence(source, artifact) == pytest.approx([expected, 0.0])
    back = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert reference.divergence(artifact, source) == pytest.approx([back, 0.0])


@given(ROWS, ROWS)
def test_divergence_is_never_negative(source, artifact):
    assert (reference.divergence(source, artifact) > -1e-9).all()
    assert reference.divergence(source, source) == pytest.approx(np.zeros(3), abs=1e-9)


@given(ROWS, st.floats(-100, 100))
def test_divergence_knows_no_level(source, shift):
    assert reference.divergence(source, source + shift) == pytest.approx(np.zeros(3), abs=1e-9)


def test_compare_tells_agreement_ties_and_losses_apart():
    source = np.array([[1.0, 3.0, 2.98], [1.0, 3.0, 2.98], [5.0, 0.0, 4.9], [2.0, 1.9375, 0.0]])
    found = reference.compare(source, source, [1, 2, 2, 1], epsilon=0.0625)
    # the first is the source's choice, 0.02 and 0.0625 below are ties, 0.1 below is a loss
    assert (found["tokens"], found["agreed"], found["ties"]) == (4, 1, 2)
    assert found["divergence"] == [0.0] * 4


def test_compare_counts_equal_logits_as_agreement():
    found = reference.compare(np.array([[2.0, 2.0]]), np.array([[2.0, 2.1]]), [1], epsilon=0.05)
    assert (found["agreed"], found["ties"]) == (1, 0)


class Counting:
    """A model whose best token is the next number; logits hold how far it stands above the rest."""

    def __init__(self, size):
        self.size, self.fed = size, []

    def start(self, ids, tokens):
        self.fed, self.tokens = list(ids), tokens
        return self.logits()

    def append(self, token):
        self.fed.append(token)
        return self.logits()

    def logits(self):
        row = np.zeros(self.size, dtype=np.float32)
        row[(self.fed[-1] + 1) % self.size] = 2.0
        return row


def test_answers_up_to_a_length():
    model = Counting(10)
    ids, rows, reason = golden.answer(model, [1, 2], 4, {9})
    assert (ids, reason, model.tokens) == ([3, 4, 5, 6], "length", 4)
    assert [int(row.argmax()) for row in rows] == ids
    # the last token is not fed: nobody asks what follows it
    assert model.fed == [1, 2, 3, 4, 5]


def test_answers_up_to_the_end_without_it():
    ids, rows, reason = golden.answer(Counting(10), [1, 2], 64, {9, 5})
    assert (ids, len(rows), reason) == ([3, 4], 2, "stop")


def test_an_answer_that_ends_at_once():
    assert golden.answer(Counting(10), [8], 64, {9}) == ([], [], "stop")


def test_an_end_at_the_very_last_token_is_a_length():
    ids, _, reason = golden.answer(Counting(10), [1], 3, {5})
    assert (ids, reason) == ([2, 3, 4], "length")


def test_the_gap_is_between_the_two_best():
    assert golden.gap(np.array([1.0, 5.0, 3.5, -2.0], dtype=np.float32)) == pytest.approx(1.5)
    assert golden.gap(np.array([4.0, 4.0], dtype=np.float32)) == 0.0


def test_a_step_is_that_of_the_type_the_engine_rounds_to():
    """bfloat16 keeps 7 bits of a fraction and float16 10: at 8 to 16 their steps are 1/16 and 1/128."""
    assert golden.step(np.array([9.0625, 8.9375, -3.0], dtype=np.float32)) == 0.0625
    assert golden.step(np.array([9.0078125, 1.0], dtype=np.float32)) == 0.0078125
    assert golden.step(np.array([9.001, 1.0], dtype=np.float32)) == 0.0
    # the largest counts, on whichever side of zero; what is masked does not
    assert golden.step(np.array([-33.25, 8.0, -np.inf], dtype=np.float32)) == 0.25
    assert golden.step(np.array([1e30, 1.001], dtype=np.float32)) == 0.0


@given(st.lists(st.floats(0.015625, 200, width=32), min_size=2, max_size=8))
def test_rounding_to_a_16_bit_type_never_parts_two_numbers_by_more_than_epsilon(values):
    """The torch type is the reference: two numbers that rounding brought together are ties."""
    exact = torch.tensor(values)
    for kind in (torch.bfloat16, torch.float16):
        rounded = exact.to(kind).float().numpy()
        moved = float(np.abs(rounded - exact.numpy()).max())
        assert 2 * moved <= golden.epsilon([rounded]) + 1e-6


def test_epsilon_of_an_engine_in_float32_is_that_of_the_prompts():
    rows = [np.array([20.001, 3.0], dtype=np.float32), np.array([7.7, 3.0], dtype=np.float32)]
    assert golden.epsilon(rows) == golden.epsilon([]) == prompts.EPSILON
    assert golden.epsilon([*rows, np.array([20.125, 3.0], dtype=np.float32)]) == 0.25


class Asked:
    """Answers when it is asked again: {id: logit} for each prompt."""

    def __init__(self, *found):
        self.found = list(found)

    def again(self, prompts):
        assert prompts == [[7, 1, 0], [7, 1]]
        return self.found


def test_an_engine_is_as_unsteady_as_the_gap_that_changed_most():
    chosen = [1, 0, 2]
    rows = [np.array(row, dtype=np.float32) for row in ([0, 9, 1], [4.0, 1.0, 3.0], [0.0, 1.5, 2.0])]
    # gaps of 0.5 and 1.0 step by step, the last first; 0.25 and 1.125 when asked again
    model = Asked({2: 2.0, 1: 1.75, 0: 0.0}, {0: 4.125, 2: 3.0})
    assert golden.unsteadiness(model, [7], chosen, rows) == 0.25
    # the second has overtaken the best; of one that is not told it is known that it is no likelier
    assert golden.unsteadiness(Asked({1: 2.5, 2: 2.25}, {0: 4.0, 2: 3.0}), [7], chosen, rows) == 0.75
    assert golden.unsteadiness(Asked({2: 2.0, 0: 1.0}, {0: 4.0, 2: 3.0}), [7], chosen, rows) == 0.5


def test_a_few_places_of_a_long_answer_are_asked_again():
    class Counted:
        def again(self, prompts):
            self.lengths = [len(prompt) for prompt in prompts]
            return [golden.likeliest(np.arange(30, dtype=np.float32)) for _ in prompts]

    model = Counted()
    rows = [np.arange(30, dtype=np.float32)] * 24
    assert golden.unsteadiness(model, [7], [29] * 24, rows) == 0.0
    assert model.lengths == [24, 18, 12, 6]
    # the first token follows the prompt, which is read in one piece in any case
    assert golden.unsteadiness(model, [7], [29], rows[:1]) == 0.0
    assert model.lengths == []


def test_an_engine_that_always_computes_alike_is_steady():
    assert golden.unsteadiness(Counting(10), [1], [2, 3], [np.zeros(10, dtype=np.float32)] * 2) == 0.0


def test_the_likeliest_are_told_with_their_logits():
    found = golden.likeliest(np.array([*range(40)], dtype=np.float32))
    assert found == {token: float(token) for token in range(20, 40)}


def test_the_golden_prompts():
    found, tokens = prompts.load()
    assert tokens == 64
    assert len(found) >= 20
    assert len({prompt.id for prompt in found}) == len(found)
    for prompt in found:
        assert (prompt.text is None) != (prompt.messages is None)
        if prompt.messages:
            assert prompt.messages[-1]["role"] == "user"
            assert all(turn["content"] for turn in prompt.messages)
    roles = {tuple(turn["role"] for turn in prompt.messages or ()) for prompt in found}
    assert {("user",), ("system", "user"), ()} <= roles


class Chat:
    """A tokenizer of letters with a template that refuses system turns."""

    chat_template = "given"

    def __call__(self, text, add_special_tokens=True):
        return {"input_ids": ([0] if add_special_tokens else []) + [ord(letter) for letter in text]}

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        if messages[0]["role"] == "system":
            raise ValueError("no system turn")
        return "<" + messages[0]["content"] + (">" if add_generation_prompt else "")


def test_chats_are_rendered_and_begin_once():
    prompt = prompts.Prompt("a", None, ({"role": "user", "content": "hi"},))
    assert golden._encode(Chat(), prompt) == ("<hi>", [60, 104, 105, 62])
    assert golden._encode(Chat(), prompts.Prompt("b", "hi", None)) == ("hi", [0, 104, 105])


def test_a_chat_that_the_template_refuses_is_left_out():
    prompt = prompts.Prompt("a", None, ({"role": "system", "content": "be"},))
    assert golden._encode(Chat(), prompt) == ("", None)
