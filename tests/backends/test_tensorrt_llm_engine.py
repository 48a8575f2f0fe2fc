"""TensorRT-LLM's stepper against a stand-in with the signatures of its LLM API."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_llm_stand_in as stand_in
from processes import until

from backends.engine import tensorrt_llm
from backends.engine.protocol import EngineError, Guide, InvalidRequest, Sampling
from backends.engine.stepper import Gauges, Progress, joined
from backends.engine.tensorrt_llm import TensorrtLlm
from backends.engine.tensorrt_llm_parameters import ignored, parameters, release, sampler

FIELDS = [one.name for one in dataclasses.fields(stand_in.SamplingParams)]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.install(monkeypatch)


@pytest.fixture
def llm() -> stand_in.LLM:
    return stand_in.LLM()


@pytest.fixture
def stepper(library: None, llm: stand_in.LLM) -> Iterator[TensorrtLlm]:
    stepper = TensorrtLlm(llm, vocabulary=20, slots=2, ignored=())
    yield stepper
    stepper.close()
    assert llm.ended


def heard(stepper: TensorrtLlm) -> dict[int, Progress]:
    """Step until nothing runs; return all that came of each sequence as one."""
    came: list[Progress] = []
    while stepper.busy:
        came += stepper.step()
    return {one.key: one for one in joined(came)}


def test_a_step_that_waits_is_woken(stepper: TensorrtLlm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it this step would wait for ever."""
    monkeypatch.setattr(tensorrt_llm, "SECONDS_OF_SILENCE", None)
    threading.Timer(0.1, stepper.wake).start()
    assert stepper.step() == []


def test_answers_become_progress_and_the_end_id_is_not_of_the_text(
    stepper: TensorrtLlm, llm: stand_in.LLM
) -> None:
    llm.answers = {
        1: [([10], None, [-0.5]), ([11, 15], "stop", [-0.25, -1.0])],
        5: [([7], None), ([15], "length")],
        # an end that is a stop word is cut off again by the library
        6: [([8], None), ([], "stop")],
    }
    stepper.add(3, [1, 2], Sampling(max_tokens=9, end_ids=frozenset({15}), log_probs=True))
    stepper.add(4, [5], Sampling(max_tokens=2))
    stepper.add(9, [6], Sampling(max_tokens=5, end_ids=frozenset({15, 16})))
    assert stepper.busy
    assert heard(stepper) == {
        3: Progress(3, (10, 11), (-0.5, -0.25), "stop"),
        4: Progress(4, (7, 15), (), "length"),
        9: Progress(9, (8,), (), "stop"),
    }
    asked = llm.asked[0]
    assert (asked.ids, asked.streaming, asked.salt) == ([1, 2], True, None)
    assert (asked.params.end_id, asked.params.stop_token_ids) == (15, None)
    assert (asked.params.ignore_eos, asked.params.detokenize) == (False, False)
    assert (llm.asked[1].params.end_id, llm.asked[1].params.ignore_eos) == (-1, True)
    assert (llm.asked[2].params.end_id, llm.asked[2].params.stop_token_ids) == (15, [16])


def test_a_score_is_read_off_the_prompt_s_logits_and_finds_no_prefix(
    stepper: TensorrtLlm, llm: stand_in.LLM
) -> None:
    llm.answers = {8: [([3], "length")]}
    values = np.random.default_rng(1).normal(size=(3, 20)).astype(np.float32)
    llm.logits = stand_in.Logits(values)
    stepper.score(5, [8, 9, 4])
    stepper.score(6, [8, 9, 4])
    found = heard(stepper)
    chances = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    expected = [np.log(chances[0, 9]), np.log(chances[1, 4])]
    assert found[5].log_probs == pytest.approx(expected, abs=1e-5)
    assert (found[5].ids, found[5].finish_reason) == ((), "length")
    assert llm.asked[0].params.return_context_logits
    assert llm.asked[0].salt and llm.asked[0].salt != llm.asked[1].salt


def test_a_score_without_all_logits_is_that_request_s_error(stepper: TensorrtLlm, llm: stand_in.LLM) -> None:
    llm.answers = {8: [([3], "length")]}
    llm.logits = stand_in.Logits(np.zeros((1, 20), np.float32))
    stepper.score(5, [8, 9, 4])
    (found,) = heard(stepper).values()
    assert found.failure == (
        "EngineError",
        "engine tensorrt_llm ended it: it gave logits of 1 of the prompt's 3 tokens",
    )


def test_aborted_sequences_are_heard_of_no_more(stepper: TensorrtLlm, llm: stand_in.LLM) -> None:
    llm.answers = {1: [([10], None), stand_in.HANG], 2: [([20], "length")]}
    stepper.add(1, [1], Sampling(max_tokens=5))
    assert stepper.step() == [Progress(1, (10,))]
    stepper.abort([1, 77])
    stepper.add(2, [2], Sampling(max_tokens=5))
    assert heard(stepper) == {2: Progress(2, (20,), (), "length")}
    until(lambda: llm.asked[0].output.aborted)


def test_what_the_library_refuses_is_the_request_s_error(stepper: TensorrtLlm, llm: stand_in.LLM) -> None:
    with pytest.raises(InvalidRequest, match="engine tensorrt_llm does not take this: require temperature"):
        stepper.add(1, [1], Sampling(max_tokens=5, temperature=-1.0))
    assert not stepper.busy
    llm.answers = {1: [stand_in.RequestError("out of blocks")], 2: [([3], "timeout")]}
    stepper.add(2, [1] * 9, Sampling(max_tokens=5))
    stepper.add(3, [1], Sampling(max_tokens=5))
    stepper.add(4, [2], Sampling(max_tokens=5))
    found = {key: one.failure for key, one in heard(stepper).items()}
    assert found[2] is not None and found[2][0] == "InvalidRequest" and "max_num_tokens" in found[2][1]
    assert found[3] == ("EngineError", "engine tensorrt_llm ended it: out of blocks")
    assert found[4] == ("EngineError", "engine tensorrt_llm ended it: timeout")


def test_a_chosen_token_without_its_log_probability_is_an_error_not_a_guess(
    stepper: TensorrtLlm, llm: stand_in.LLM
) -> None:
    llm.answers = {1: [([10], None, [-0.5]), ([11], "length", [])]}
    stepper.add(1, [1], Sampling(max_tokens=5, log_probs=True))
    (found,) = heard(stepper).values()
    assert found.failure is not None and "how likely each token was" in found.failure[1]


def test_an_executor_that_dies_ends_the_engine(
    stepper: TensorrtLlm, llm: stand_in.LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_llm, "SECONDS_OF_SILENCE", 0.01)
    llm.answers = {1: [stand_in.HANG], 2: [RuntimeError("CUDA error")]}
    stepper.add(1, [1], Sampling(max_tokens=5))
    assert stepper.step() == []
    llm.healthy = False
    with pytest.raises(EngineError, match="executor has ended"):
        stepper.step()
    stepper.add(2, [2], Sampling(max_tokens=5))
    with pytest.raises(RuntimeError, match="CUDA error"):
        heard(stepper)


def test_gauges_count_what_runs_what_waits_and_what_the_cache_had(
    stepper: TensorrtLlm, llm: stand_in.LLM
) -> None:
    llm.answers, llm.cached = {1: [([10], "length")]}, 2
    for key in range(3):
        stepper.add(key, [1, 2, 3], Sampling(max_tokens=1))
    assert (stepper.gauges().running, stepper.gauges().waiting) == (2, 1)
    heard(stepper)
    assert stepper.gauges() == Gauges(0, 0, 0.0, 9, 6)


@pytest.mark.parametrize(
    ("guide", "told"),
    [
        (Guide("json"), {"json_object": True}),
        (Guide("json_schema", '{"type": "object"}'), {"json": '{"type": "object"}'}),
        (Guide("regex", "a+"), {"regex": "a+"}),
        (Guide("ebnf_grammar", 'root ::= "a"'), {"grammar": 'root ::= "a"'}),
    ],
)
def test_guides_are_guided_decoding(
    stepper: TensorrtLlm, llm: stand_in.LLM, guide: Guide, told: dict[str, Any]
) -> None:
    llm.answers = {1: [([10], "length")]}
    stepper.add(1, [1], Sampling(max_tokens=5, guide=guide))
    heard(stepper)
    assert llm.asked[0].params.guided_decoding == stand_in.GuidedDecodingParams(**told)


def test_bad_words_are_told_in_all_their_spellings_and_biases_by_id(
    stepper: TensorrtLlm, llm: stand_in.LLM
) -> None:
    llm.answers = {1: [([10], "length")]}
    asked = Sampling(max_tokens=5, bad_ids=((7,), (7, 8)), logit_bias={3: -5.0, 19: 1.5})
    stepper.add(1, [1], asked)
    heard(stepper)
    params = llm.asked[0].params
    assert params._bad_word_ids == [[7], [7, 8]]
    assert len(params.bad) == 2
    assert (params.embedding_bias[3], params.embedding_bias[19]) == (-5.0, 1.5)
    assert (params.embedding_bias.shape, np.count_nonzero(params.embedding_bias)) == ((20,), 2)


def test_every_sampling_parameter_has_its_name() -> None:
    asked = Sampling(
        max_tokens=7, end_ids=frozenset({9, 3}), temperature=0.5, top_k=4, top_p=0.9, min_p=0.1,
        repetition_penalty=1.2, presence_penalty=0.3, frequency_penalty=0.4, min_tokens=2, seed=11,
        logit_bias={5: -1.0}, bad_ids=((1,),), log_probs=True,
    )  # fmt: skip
    assert parameters(asked, 6) == {
        "max_tokens": 7, "end_id": 3, "stop_token_ids": [9], "ignore_eos": False, "temperature": 0.5,
        "top_k": 4, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.2, "presence_penalty": 0.3,
        "frequency_penalty": 0.4, "prompt_ignore_length": 6, "min_tokens": 2, "seed": 11,
        "embedding_bias": {5: -1.0}, "bad_words": [[1]], "logprobs": 1, "detokenize": False,
    }  # fmt: skip
    plain = {"max_tokens": 1, "end_id": -1, "ignore_eos": True, "top_k": 1, "detokenize": False}
    assert parameters(Sampling(max_tokens=1), 6) == plain
    assert parameters(Sampling(max_tokens=1, temperature=0.7, top_k=1, seed=3), 6) == plain


def test_every_request_without_a_seed_has_one_of_its_own() -> None:
    """The library's default is the same for all: two equal prompts would get one answer."""
    first, second = (parameters(Sampling(max_tokens=1, temperature=1.0), 6)["seed"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize(
    ("version", "known", "told"),
    [
        ("1.0.3.2510", ("enable_trtllm_sampler",), {"enable_trtllm_sampler": True}),
        ("1.1.0", ("use_torch_sampler",), {"use_torch_sampler": False}),
        ("1.2.1", ("sampler_type",), {"sampler_type": "TRTLLMSampler"}),
        ("1.3.0rc15", ("sampler_type",), {"sampler_type": "TRTLLMSampler"}),
        ("1.3.0rc26", ("sampler_type",), {}),
        ("1.4.0rc1", (), {}),
        ("1.2.1", (), {}),
    ],
)
def test_up_to_1_3_the_sampler_is_chosen_that_knows_every_parameter(
    version: str, known: tuple[str, ...], told: dict[str, Any]
) -> None:
    assert sampler(version, known, {}) == told
    guides = {"guided_decoding_backend": "xgrammar"}
    silent = ignored(version, FIELDS, {**guides, **told})
    assert bool(silent) == (release(version) < (1, 3, 0, 26) and not told)


@pytest.mark.parametrize(
    "chosen", [{"sampler_type": "TorchSampler"}, {"speculative_config": {"decoding_type": "NGram"}}]
)
def test_whoever_chose_another_sampler_is_told_what_it_ignores(library: None, chosen: dict[str, Any]) -> None:
    assert sampler("1.2.1", ("sampler_type",), chosen) == {}
    stepper = TensorrtLlm(stand_in.LLM(), vocabulary=20, slots=1, ignored=ignored("1.2.1", FIELDS, chosen))
    try:
        with pytest.raises(InvalidRequest, match=r"'presence_penalty', 'seed'$"):
            stepper.add(1, [1], Sampling(max_tokens=1, temperature=1.0, seed=3, presence_penalty=0.5))
        with pytest.raises(InvalidRequest, match="'guided_decoding_guide_type'"):
            stepper.add(1, [1], Sampling(max_tokens=1, guide=Guide("json")))
    finally:
        stepper.close()


def test_1_0_and_1_1_would_count_the_prompt_among_what_was_generated() -> None:
    told = {"enable_trtllm_sampler": True, "guided_decoding_backend": "xgrammar"}
    old = [name for name in FIELDS if name != "prompt_ignore_length"]
    assert ignored("1.0.0", old, told) == {"presence_penalty", "frequency_penalty"}
    assert ignored("1.2.1", FIELDS, told) == set()


def test_several_ends_cannot_be_held_back(stepper: TensorrtLlm) -> None:
    with pytest.raises(InvalidRequest, match="name one as end_id"):
        stepper.add(1, [1], Sampling(max_tokens=5, min_tokens=2, end_ids=frozenset({3, 4})))


def test_the_library_is_told_what_was_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.install(monkeypatch, "1.2.1", ("sampler_type",))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"vocab_size": 20}))
    settings = {"model": "model", "max_active": 4, "engine_arguments": {"backend": "pytorch"}}
    loaded = tensorrt_llm.stepper(settings, tmp_path)
    try:
        llm = loaded._llm
        assert (llm.model, llm.tokenizer) == (str(tmp_path / "model"), str(tmp_path / "tokenizer"))
        assert llm.told == {"backend": "pytorch", "sampler_type": "TRTLLMSampler"}
        with pytest.raises(InvalidRequest, match="guided"):
            loaded.add(1, [1], Sampling(max_tokens=1, guide=Guide("json")))
    finally:
        loaded.close()
