"""The choice of the next token, against numbers worked by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from backends.engine.protocol import Sampling
from backends.engine.sampling import Sampler, likeliest, log_probability

# probabilities 0.5, 0.25, 0.125, 0.0625, 0.0625 at temperature 1
HALVES = np.log(np.array([0.5, 0.25, 0.125, 0.0625, 0.0625], dtype=np.float32))


def sampler(prompt: tuple[int, ...] = (), **options: Any) -> Sampler:
    return Sampler(Sampling(**{"max_tokens": 1000, **options}), prompt)


def frequencies(logits: np.ndarray, draws: int = 4000, **options: Any) -> np.ndarray:
    one = sampler(seed=7, **options)
    found = np.bincount([one.choose(logits)[0] for _ in range(draws)], minlength=len(logits))
    return found / draws


def deviation(found: np.ndarray, expected: list[float], draws: int = 4000) -> float:
    """Return Pearson's chi-square; for four degrees of freedom 18.5 is passed once in a thousand."""
    likely = np.array(expected)
    assert not found[likely == 0].any()
    some = likely > 0
    return float((draws * (found[some] - likely[some]) ** 2 / likely[some]).sum())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"temperature": 1.0}, [0.5, 0.25, 0.125, 0.0625, 0.0625]),
        # p ** 2 / sum(p ** 2): 64, 16, 4, 1, 1 of 86
        ({"temperature": 0.5}, [64 / 86, 16 / 86, 4 / 86, 1 / 86, 1 / 86]),
        ({"temperature": 1.0, "top_k": 2}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"temperature": 1.0, "top_k": 99}, [0.5, 0.25, 0.125, 0.0625, 0.0625]),
        ({"temperature": 1.0, "top_p": 0.6}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"temperature": 1.0, "top_p": 0.8}, [4 / 7, 2 / 7, 1 / 7, 0, 0]),
        ({"temperature": 1.0, "top_p": 0.4}, [1, 0, 0, 0, 0]),
        ({"temperature": 1.0, "min_p": 0.2}, [4 / 7, 2 / 7, 1 / 7, 0, 0]),
        ({"temperature": 1.0, "min_p": 0.3}, [2 / 3, 1 / 3, 0, 0, 0]),
        # first the two best, of which the best alone reaches 0.6 of what is left
        ({"temperature": 1.0, "top_k": 2, "top_p": 0.6}, [1, 0, 0, 0, 0]),
        ({"temperature": 1.0, "logit_bias": {4: math.log(8)}}, [8 / 23, 4 / 23, 2 / 23, 1 / 23, 8 / 23]),
    ],
)
def test_draws_follow_the_probabilities(options: dict[str, Any], expected: list[float]) -> None:
    assert deviation(frequencies(HALVES, **options), expected) < 18.5


def test_top_p_is_about_the_changed_order() -> None:
    shuffled = HALVES[[3, 0, 4, 1, 2]]
    assert deviation(frequencies(shuffled, temperature=1.0, top_p=0.6), [0, 2 / 3, 0, 1 / 3, 0]) < 18.5


def test_seeds_reproduce_and_differ() -> None:
    def drawn(seed: int | None) -> list[int]:
        one = sampler(temperature=1.0, seed=seed)
        return [one.choose(np.zeros(1000, dtype=np.float32))[0] for _ in range(20)]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    assert drawn(None) != drawn(None)
    assert drawn(2**64 - 1) == drawn(2**64 - 1)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.0, "top_k": 40}, {"temperature": 2.0, "top_k": 1}])
def test_greedy_takes_the_first_of_the_best(options: dict[str, Any]) -> None:
    logits = np.array([1.0, 3.0, 3.0, 2.0], dtype=np.float32)
    assert sampler(**options).choose(logits)[0] == 1


def test_without_changes_the_very_array_is_used() -> None:
    logits = HALVES.copy()
    assert sampler()._penalised(logits) is logits
    assert sampler(temperature=0.7, top_p=0.9)._penalised(logits) is logits


@pytest.mark.parametrize(
    "options",
    [{"logit_bias": {0: -5.0}}, {"repetition_penalty": 2.0}, {"bad_ids": ((0,),)}, {"temperature": 1.0}],
)
def test_the_logits_given_are_never_modified(options: dict[str, Any]) -> None:
    logits = HALVES.copy()
    one = sampler(prompt=(0, 1), **options)
    for _ in range(3):
        one.choose(logits)
    assert np.array_equal(logits, HALVES)


def test_repetition_penalty_divides_positive_and_multiplies_negative_of_prompt_and_answer() -> None:
    logits = np.array([4.0, 3.0, -1.0, -3.0], dtype=np.float32)
    one = sampler(prompt=(0, 2), repetition_penalty=2.0)
    assert one._penalised(logits).tolist() == [2.0, 3.0, -2.0, -3.0]
    assert one.choose(logits)[0] == 1
    assert one._penalised(logits).tolist() == [2.0, 1.5, -2.0, -3.0]


def test_presence_and_frequency_penalties_count_the_answer_only() -> None:
    logits = np.array([9.0, 5.0, 1.0], dtype=np.float32)
    one = sampler(prompt=(0, 0, 1), presence_penalty=0.5, frequency_penalty=0.25)
    assert one._penalised(logits).tolist() == [9.0, 5.0, 1.0]
    one.choose(logits)
    one.choose(logits)
    assert one._penalised(logits).tolist() == [9.0 - 0.5 - 2 * 0.25, 5.0, 1.0]


def test_negative_penalties_reward() -> None:
    one = sampler(presence_penalty=-1.0)
    one.choose(HALVES)
    assert one._penalised(HALVES)[0] == HALVES[0] + 1


def test_end_ids_wait_for_min_tokens() -> None:
    logits = np.array([9.0, 5.0, 7.0], dtype=np.float32)
    one = sampler(end_ids=frozenset({0, 2}), min_tokens=2)
    assert [one.choose(logits)[0] for _ in range(3)] == [1, 1, 0]


def test_bad_word_of_one_token_never_comes() -> None:
    assert frequencies(HALVES, 500, temperature=1.0, bad_ids=((0,), (3,)))[[0, 3]].sum() == 0


def test_bad_word_of_several_tokens_is_stopped_at_its_last() -> None:
    ranked = [np.array(row, dtype=np.float32) for row in ([0, 9, 5], [0, 5, 9], [9, 5, 8])]
    one = sampler(bad_ids=((1, 2, 0),))
    assert [one.choose(logits)[0] for logits in ranked] == [1, 2, 2]
    other = sampler(bad_ids=((1, 2, 0),))
    assert [other.choose(logits)[0] for logits in (ranked[1], ranked[1], ranked[2])] == [2, 2, 0]


def test_bad_word_is_not_matched_with_the_prompt() -> None:
    assert sampler(prompt=(1,), bad_ids=((1, 0),)).choose(HALVES)[0] == 0


def test_log_probability_is_of_the_unchanged_logits() -> None:
    one = sampler(log_probs=True, logit_bias={0: -100.0}, temperature=0.0)
    token, value = one.choose(HALVES + np.float32(3.0))
    assert token == 1
    assert value == pytest.approx(math.log(0.25), abs=1e-6)
    assert sampler().choose(HALVES)[1] == 0.0


def test_log_probability_of_large_logits_is_finite() -> None:
    logits = np.array([3e4, 3e4 + 1, -3e4], dtype=np.float32)
    assert log_probability(logits, 1) == pytest.approx(-math.log1p(math.exp(-1)), abs=1e-6)
    assert log_probability(logits, 2) == pytest.approx(-6e4 - 1 - math.log1p(math.exp(-1)), rel=1e-6)


def test_the_likeliest_come_in_order_and_equals_by_their_ids() -> None:
    logits = np.log(np.array([1, 4, 2, 4, 1, 4], dtype=np.float32))
    quarter, eighth = math.log(0.25), math.log(0.125)
    found = likeliest(logits, 4)
    assert [token for token, _ in found] == [1, 3, 5, 2]
    assert [value for _, value in found] == pytest.approx([quarter, quarter, quarter, eighth], abs=1e-6)
    assert [token for token, _ in likeliest(logits, 2)] == [1, 3]
    assert len(likeliest(logits, 20)) == 6


def test_a_step_tells_what_was_asked_of_the_unchanged_logits() -> None:
    one = sampler(log_probs=True, top_log_probs=2, logit_bias={0: -100.0}, max_tokens=2)
    step = one.step(HALVES)
    assert (step.ids, step.finish_reason) == ((1,), None)
    (top,) = step.tops
    assert [token for token, _ in top] == [0, 1]
    assert top[1][1] == pytest.approx(step.log_probs[0]) == pytest.approx(log_probability(HALVES, 1))
    assert one.step(HALVES).finish_reason == "length"
    plain = sampler(max_tokens=9).step(HALVES)
    assert (plain.log_probs, plain.tops) == ((), ())


def test_an_end_id_is_a_step_without_ids() -> None:
    step = sampler(end_ids=frozenset({0}), top_log_probs=2, log_probs=True).step(HALVES)
    assert (step.ids, step.log_probs, step.tops, step.finish_reason) == ((), (), (), "stop")


def test_very_low_temperature_is_greedy() -> None:
    assert sampler(temperature=1e-30).choose(HALVES)[0] == 0
