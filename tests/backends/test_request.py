"""What clients may ask for, and the words in which they are refused."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backends.engine.protocol import Guide, InvalidRequest
from backends.front.limits import Limits
from backends.front.request import Request, parse
from backends.text.chat import Chat
from backends.text.encoding import Encoder

UNSUPPORTED = (
    "beam_width",
    "length_penalty",
    "top_logprobs",
    "guided_decoding_guide_type",
    "guided_decoding_guide",
)
LIMITS = Limits(
    context=64,
    vocabulary=49152,
    end_ids=frozenset({2}),
    deadline_seconds=100.0,
    engine="onnxruntime_genai",
    unsupported=frozenset(UNSUPPORTED),
)
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("input_ids", "max_tokens", "top_k", "min_tokens", "end_id", "beam_width"), np.int32),
    **dict.fromkeys(("num_return_sequences", "top_logprobs", "priority"), np.int32),
    **dict.fromkeys(("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty"), np.float32),
    **dict.fromkeys(("frequency_penalty", "length_penalty"), np.float32),
    **dict.fromkeys(("stream", "add_special_tokens", "exclude_input_in_output"), np.bool_),
    **dict.fromkeys(("return_log_probs", "prompt_logprobs"), np.bool_),
    "seed": np.uint64,
}


def tensor(name: str, value: Any) -> np.ndarray:
    values = list(value) if isinstance(value, list | tuple) else [value]
    values = [one.encode() if isinstance(one, str) else one for one in values]
    return np.array(values, dtype=_KINDS.get(name, np.object_)).reshape(1, -1)


@pytest.fixture
def ask(encoder: Encoder, chat: Chat) -> Any:
    """Return a function from named values to the parsed Request; text_input is given by default."""

    def send(
        parameters: dict[str, Any] | None = None, timeout: int = 0, limits: Limits = LIMITS, **values: Any
    ) -> Request:
        if not {"text_input", "messages", "input_ids"} & values.keys():
            values["text_input"] = "Hello"
        tensors = {name: tensor(name, value) for name, value in values.items() if value is not None}
        return parse(tensors, parameters or {}, limits, encoder, chat, timeout)

    return send


def test_defaults_are_greedy_and_fill_the_context(ask: Any) -> None:
    request = ask()
    sampling = request.sampling
    assert sampling.max_tokens == 64 - len(request.ids)
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.0, 0, 1.0, 0.0)
    assert (sampling.seed, sampling.end_ids, sampling.bad_ids) == (None, frozenset({2}), ())
    assert not (request.stream or request.echo or request.prompt_log_probs or sampling.log_probs)
    assert (request.stops, request.sequences) == ((), 1)


@pytest.mark.parametrize(
    ("name", "accepted", "refused"),
    [
        ("max_tokens", [1, 10], [0, -1, 64, 2**31 - 1]),
        ("min_tokens", [0, 5], [-1, 64]),
        ("temperature", [0.0, 1.5, 100.0], [-0.5, 101.0, float("nan"), float("inf")]),
        ("top_k", [0, 1, 2**31 - 1], [-1]),
        ("top_p", [0.25, 1.0], [0.0, -0.5, 1.5, float("nan")]),
        ("min_p", [0.0, 0.5, 1.0], [-0.5, 1.5]),
        ("repetition_penalty", [0.5, 2.0], [0.0, -1.0, 101.0]),
        ("presence_penalty", [-2.0, 0.0, 2.0], [-101.0, 101.0]),
        ("frequency_penalty", [-2.0, 0.0, 2.0], [-101.0, 101.0]),
    ],
)
def test_numbers_have_ranges(ask: Any, name: str, accepted: list[float], refused: list[float]) -> None:
    for value in accepted:
        assert getattr(ask(**{name: value}).sampling, name) == value
    for value in refused:
        with pytest.raises(InvalidRequest, match=name):
            ask(**{name: value})


@pytest.mark.parametrize(
    "name",
    ["max_tokens", "temperature", "seed", "stream", "end_id", "logit_bias", "beam_width", "text_input"],
)
@pytest.mark.parametrize("values", [[], ["1", "2"]])
def test_wrong_counts_are_refused_by_name(ask: Any, name: str, values: list[str]) -> None:
    kind = _KINDS.get(name)
    with pytest.raises(InvalidRequest, match=f"{name} has {len(values)} elements, 1 is expected"):
        ask(**{name: values if kind is None else [int(value) for value in values]})


def test_of_how_many_likeliest_to_tell(ask: Any) -> None:
    every = replace(LIMITS, unsupported=frozenset())
    assert ask(limits=every).sampling.top_log_probs == 0
    assert ask(limits=every, top_logprobs=20).sampling.top_log_probs == 20
    for value in (-1, 21):
        with pytest.raises(InvalidRequest, match=f"top_logprobs is {value}, it must be 0 to 20"):
            ask(limits=every, top_logprobs=value)


def test_priority_is_an_input_or_a_parameter(ask: Any) -> None:
    assert ask().sampling.priority == ask(priority=0).sampling.priority == 50
    assert ask(priority=1).sampling.priority == ask(parameters={"priority": 1}).sampling.priority == 1
    assert ask(parameters={"priority": 0}).sampling.priority == 50
    assert ask(parameters={"priority": 9}, priority=100).sampling.priority == 100
    for value in (-1, 101):
        for sent in ({"priority": value}, {"parameters": {"priority": value}}):
            with pytest.raises(InvalidRequest, match=f"priority is {value}, it must be 0 to 100"):
                ask(**sent)
    with pytest.raises(InvalidRequest, match="priority is 'high', a whole number is expected"):
        ask(parameters={"priority": "high"})


def test_an_engine_without_priorities_refuses_both(ask: Any) -> None:
    first_come = replace(LIMITS, unsupported=frozenset({"priority"}))
    assert ask(limits=first_come, priority=0).sampling.priority == 50
    for sent in ({"priority": 3}, {"parameters": {"priority": 3}}):
        with pytest.raises(InvalidRequest, match="does not support 'priority'"):
            ask(limits=first_come, **sent)


def test_adapters_are_known_by_name(ask: Any) -> None:
    both = replace(LIMITS, adapters=("law", "support"))
    assert ask().sampling.adapter == ask(limits=both, lora_name="").sampling.adapter == ""
    assert ask(limits=both, lora_name="law").sampling.adapter == "law"
    with pytest.raises(InvalidRequest, match="lora_name is 'lore': it is one of law, support"):
        ask(limits=both, lora_name="lore")
    with pytest.raises(InvalidRequest, match="lora_name is 'law': this deployment has none"):
        ask(lora_name="law")
    with pytest.raises(InvalidRequest, match="prompt_logprobs tells of the model alone"):
        ask(limits=both, lora_name="law", prompt_logprobs=True)


def test_refusals_name_value_and_range(ask: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"top_p is 1\.5, it must be 0 to 1"):
        ask(top_p=1.5)
    with pytest.raises(InvalidRequest, match=r"num_return_sequences is 65, it must be 1 to 64"):
        ask(num_return_sequences=65)


@pytest.mark.parametrize("name", ["top_k", "top_p", "min_p"])
def test_sampling_without_temperature_has_temperature_one(ask: Any, name: str) -> None:
    assert ask(**{name: 1}).sampling.temperature == 1.0
    assert ask(**{name: 1, "temperature": 0.0}).sampling.temperature == 0.0
    assert ask(**{name: 1, "temperature": 0.5}).sampling.temperature == 0.5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"text_input": None}, "none was sent"),
        ({"text_input": "a", "input_ids": [5]}, "text_input and input_ids were sent"),
        ({"messages": "[]", "text_input": "a", "input_ids": [5]}, "text_input and messages and input_ids"),
    ],
)
def test_exactly_one_prompt(ask: Any, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        ask(**given)


def test_prompts_become_ids(ask: Any, encoder: Encoder, chat: Chat) -> None:
    assert ask(text_input="Hello").ids == tuple(encoder.encode("Hello"))
    assert ask(input_ids=[5, 6, 7]).ids == (5, 6, 7)
    messages = json.dumps([{"role": "user", "content": "Hi"}])
    assert ask(messages=messages).ids == tuple(chat.encode(messages))


@pytest.mark.parametrize("prompt", [{"text_input": ""}, {"input_ids": []}])
def test_an_empty_prompt_is_refused(ask: Any, prompt: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="prompt is empty"):
        ask(**prompt)


def test_a_prompt_that_is_too_long_says_both_numbers(ask: Any) -> None:
    for length in (64, 90):
        with pytest.raises(InvalidRequest, match=f"prompt has {length} tokens, the context holds 64"):
            ask(input_ids=[5] * length)
    with pytest.raises(
        InvalidRequest, match=r"60 tokens and max_tokens is 5, the context holds 64.*at most 4"
    ):
        ask(input_ids=[5] * 60, max_tokens=5)
    assert ask(input_ids=[5] * 63).sampling.max_tokens == 1


def test_a_text_beyond_all_hope_is_refused_uncounted(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "encode", lambda *_: pytest.fail("it was tokenized"))
    monkeypatch.setattr(Chat, "encode", lambda *_: pytest.fail("it was tokenized"))
    for name in ("text_input", "messages"):
        with pytest.raises(InvalidRequest, match=f"{name} has 1000000 characters, the context holds 64"):
            ask(**{name: " " * 1_000_000})


@pytest.mark.parametrize("token", [-1, 49152])
def test_ids_outside_the_vocabulary_are_refused(ask: Any, token: int) -> None:
    with pytest.raises(InvalidRequest, match=f"input_ids holds {token}, ids are 0 to 49151"):
        ask(input_ids=[5, token])
    if token > 0:
        with pytest.raises(InvalidRequest, match=f"end_id holds {token}"):
            ask(end_id=token)


def test_bad_messages_are_the_clients_mistake(ask: Any) -> None:
    with pytest.raises(InvalidRequest, match="not valid JSON"):
        ask(messages="{")


def test_unknown_parameters_are_named(ask: Any) -> None:
    with pytest.raises(InvalidRequest, match="unknown parameter max_token, temprature"):
        ask({"temprature": 1, "max_token": 3, "timeout": 5})
    ask({"timeout": 5, "priority": 1, "headers": {}, "triton_enable_empty_final_response": True})


@pytest.mark.parametrize(
    ("name", "harmless", "asks"),
    [
        ("beam_width", 1, 2),
        ("length_penalty", 1.0, 0.5),
        ("top_logprobs", 0, 5),
        ("guided_decoding_guide_type", "", "json"),
        ("guided_decoding_guide", "", "{}"),
    ],
)
def test_unsupported_is_refused_unless_it_asks_for_nothing(
    ask: Any, name: str, harmless: Any, asks: Any
) -> None:
    ask(**{name: harmless})
    with pytest.raises(InvalidRequest, match=f"engine onnxruntime_genai does not support '{name}'"):
        ask(**{name: asks})


def test_what_is_lacking_is_said(ask: Any) -> None:
    limits = replace(LIMITS, lacking={"guided_decoding_guide": "the package is not installed"})
    said = "does not support 'guided_decoding_guide', because the package is not installed: leave it out"
    with pytest.raises(InvalidRequest, match=said):
        ask(limits=limits, guided_decoding_guide="{}")


@pytest.mark.parametrize(("name", "harmless", "asks"), [("min_p", 0.0, 0.1), ("logit_bias", "", '{"1": 1}')])
def test_what_only_some_deployments_take_may_be_sent_where_it_asks_for_nothing(
    ask: Any, name: str, harmless: Any, asks: Any
) -> None:
    limits = replace(LIMITS, unsupported=frozenset({name}))
    ask(limits=limits, **{name: harmless})
    with pytest.raises(InvalidRequest, match=f"does not support '{name}'"):
        ask(limits=limits, **{name: asks})


@pytest.mark.parametrize("name", ["text_input", "messages", "stop_words", "bad_words", "logit_bias"])
def test_invalid_utf8_is_refused_by_name(ask: Any, name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{name} is not valid UTF-8"):
        ask(**{name: b"\xff\xfe"})


def test_logit_bias(ask: Any) -> None:
    assert ask(logit_bias='{"42": -100, "7": 1.5}').sampling.logit_bias == {42: -100.0, 7: 1.5}
    assert ask(logit_bias="").sampling.logit_bias == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "JSON object"),
        ("[1]", "JSON object"),
        ('{"a": 1}', "JSON object"),
        ('{"1": "x"}', "JSON object"),
        ('{"1": null}', "JSON object"),
        ('{"1": true}', "JSON object"),
        ('{"1": "5"}', "JSON object"),
        ("[" * 100_000, "logit_bias is nested too deeply"),
        (f'{{"1": 1{"0" * 400}}}', "logit_bias of 1 is inf"),
        ('{"49152": 1}', "logit_bias holds 49152"),
        ('{"-1": 1}', "logit_bias holds -1"),
        ('{"1": 1e400}', "logit_bias of 1 is inf"),
        ('{"1": NaN}', "logit_bias of 1 is nan"),
        ('{"1": 1e39}', r"logit_bias of 1 is 1e\+39, it must be -10000 to 10000"),
    ],
)
def test_bad_logit_bias_is_refused(ask: Any, text: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        ask(logit_bias=text)


def test_stop_words_without_the_empty_one(ask: Any) -> None:
    assert ask(stop_words=["END", "", "🙂"]).stops == ("END", "🙂")
    with pytest.raises(InvalidRequest, match="stop_words has 65 entries, at most 64"):
        ask(stop_words=["a"] * 65)


def test_bad_words_in_both_spellings(ask: Any, encoder: Encoder) -> None:
    spellings = {tuple(encoder.encode(text)) for text in ("Paris", " Paris")}
    assert set(ask(bad_words=["Paris", ""]).sampling.bad_ids) == spellings
    assert len(spellings) == 2


def test_end_id(ask: Any) -> None:
    assert ask(end_id=-1).sampling.end_ids == frozenset()
    assert ask(end_id=0).sampling.end_ids == frozenset({0})


def test_flags(ask: Any) -> None:
    request = ask(stream=True, return_log_probs=True, prompt_logprobs=True, exclude_input_in_output=False)
    assert request.stream and request.sampling.log_probs and request.prompt_log_probs and request.echo
    assert request.prompt_text == "Hello"


@pytest.mark.parametrize(("timeout", "seconds"), [(0, 100.0), (5_000_000, 5.0)])
def test_deadline_is_the_timeout_or_the_deployments(ask: Any, timeout: int, seconds: float) -> None:
    before = time.monotonic()
    deadline = ask(timeout=timeout).sampling.deadline
    assert before + seconds <= deadline <= time.monotonic() + seconds


@pytest.mark.parametrize("timeout", [-1, "soon", 1.5])
def test_a_timeout_that_is_none_is_refused(ask: Any, timeout: Any) -> None:
    with pytest.raises(InvalidRequest, match="timeout"):
        ask(timeout=timeout)


def test_each_sequence_has_a_seed_of_its_own(ask: Any) -> None:
    request = ask(seed=2**64 - 1, num_return_sequences=3)
    assert request.sequences == 3
    assert [request.sampling_of(place).seed for place in range(3)] == [2**64 - 1, 0, 1]
    assert ask(num_return_sequences=2).sampling_of(1).seed is None


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("json", None),
        ("json_schema", '{"type": "object"}'),
        ("regex", "a+"),
        ("ebnf_grammar", 'root ::= "a"'),
    ],
)
def test_a_guide_reaches_an_engine_that_knows_guides(ask: Any, kind: str, text: str | None) -> None:
    limits = replace(LIMITS, unsupported=frozenset())
    request = ask(limits=limits, guided_decoding_guide_type=kind, guided_decoding_guide=text)
    assert request.sampling.guide == Guide(kind, text or "")
    assert ask(limits=limits).sampling.guide is None


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("yaml", "x", "guided_decoding_guide_type is 'yaml', it must be json, json_schema, regex"),
        (None, "{}", "guided_decoding_guide_type is '', it must be json"),
        ("regex", None, "regex takes a guided_decoding_guide"),
        ("json", "{}", "json takes no guide: ask for json_schema"),
        ("json_schema", "{", "guided_decoding_guide is no JSON"),
        ("json_schema", "[" * 100_000, "guided_decoding_guide is nested too deeply"),
        ("json_schema", "3", "guided_decoding_guide is '3', a JSON schema is an object"),
    ],
)
def test_a_guide_that_is_none(ask: Any, kind: str | None, text: str | None, said: str) -> None:
    limits = replace(LIMITS, unsupported=frozenset())
    with pytest.raises(InvalidRequest, match=said):
        ask(limits=limits, guided_decoding_guide_type=kind, guided_decoding_guide=text)
