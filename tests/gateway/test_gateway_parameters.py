"""What each parameter does to real answers of smollm2."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from typing import Any

import gateway_process
import openai
import pytest
from gateway_process import Gateway
from processes import until

from builder.server import Server

pytestmark = [pytest.mark.triton, pytest.mark.slow]
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
POEM = [{"role": "user", "content": "Write a poem about the sea."}]
PROMPT = "The capital of France is"
OTHER = "Once upon a"
SONG = "la la la la la la"


@pytest.fixture
def chat(client: Any) -> Any:
    def ask(messages: Any = FRANCE, **more: Any) -> Any:
        fields = {"temperature": 0, "max_tokens": 24} | more
        return client.chat.completions.create(model="smollm2", messages=messages, **fields)

    return ask


@pytest.fixture
def complete(client: Any) -> Any:
    def ask(prompt: Any = PROMPT, **more: Any) -> Any:
        fields = {"temperature": 0, "max_tokens": 8} | more
        return client.completions.create(model="smollm2", prompt=prompt, **fields)

    return ask


def text(answer: Any) -> str:
    return str(answer.choices[0].message.content)


def test_greedy_is_always_the_same(chat: Any) -> None:
    assert "Paris" in text(chat())
    assert text(chat()) == text(chat())


def test_temperature_and_seed(chat: Any) -> None:
    told = [text(chat(POEM, temperature=1.5, seed=seed)) for seed in (1, 1, 2, -1, 2**64 - 1)]
    assert told[0] == told[1] != told[2]
    assert told[3] == told[4]  # -1 is 2**64 - 1
    assert text(chat(POEM)) not in told


def test_the_default_temperature_is_1(chat: Any) -> None:
    told = {text(chat(POEM, temperature=None, seed=seed)) for seed in range(3)}
    assert told == {text(chat(POEM, temperature=1, seed=seed)) for seed in range(3)}
    assert len(told) == 3


@pytest.mark.parametrize("most_careful", [{"top_p": 0}, {"top_p": 1e-5}])
def test_a_small_top_p_is_greedy(chat: Any, most_careful: Any) -> None:
    assert text(chat(POEM, temperature=1, **most_careful)) == text(chat(POEM))


@pytest.mark.parametrize("most_careful", [{"top_k": 1}, {"min_p": 1.0}])
def test_vllms_parameters_for_sampling(chat: Any, most_careful: Any) -> None:
    assert text(chat(POEM, temperature=1, extra_body=most_careful)) == text(chat(POEM))


def test_all_tokens_are_vllms_minus_one(chat: Any) -> None:
    everything = text(chat(POEM, temperature=1.5, seed=3))
    assert text(chat(POEM, temperature=1.5, seed=3, extra_body={"top_k": -1})) == everything


@pytest.mark.parametrize("penalty", [{"presence_penalty": 2}, {"frequency_penalty": 2}])
def test_penalties(complete: Any, penalty: Any) -> None:
    plain, other = (complete(SONG, max_tokens=32, **more).choices[0].text for more in ({}, penalty))
    assert repeats(plain) > repeats(other)


def test_repetition_penalty(complete: Any) -> None:
    plain = complete(SONG, max_tokens=32).choices[0].text
    other = complete(SONG, max_tokens=32, extra_body={"repetition_penalty": 2}).choices[0].text
    assert repeats(plain) > repeats(other)


def repeats(answer: str) -> int:
    """Return how often the most frequent pair of characters occurs."""
    return max(Counter(itertools.pairwise(answer)).values())


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_longest_answer(chat: Any, name: str) -> None:
    answer = chat(POEM, **{"max_tokens": None, name: 5})
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (5, "length")


def test_without_a_longest_answer_it_ends_by_itself(chat: Any) -> None:
    answer = chat(max_tokens=None)
    assert answer.choices[0].finish_reason == "stop"


def test_min_tokens_and_ignore_eos(chat: Any) -> None:
    short = chat(max_tokens=60).usage.completion_tokens
    assert short < 40
    assert chat(max_tokens=60, extra_body={"min_tokens": 40}).usage.completion_tokens >= 40
    endless = chat(max_tokens=60, extra_body={"ignore_eos": True})
    assert (endless.usage.completion_tokens, endless.choices[0].finish_reason) == (60, "length")


@pytest.mark.parametrize("stop", ["Paris", ["nowhere", " Paris"]])
def test_stop(chat: Any, stop: Any) -> None:
    answer = chat(stop=stop)
    assert "capital" in text(answer) and "Paris" not in text(answer)
    assert answer.choices[0].finish_reason == "stop"


def test_bad_words(complete: Any) -> None:
    assert "Paris" in complete().choices[0].text
    assert "Paris" not in complete(extra_body={"bad_words": ["Paris"]}).choices[0].text


def test_logit_bias(real: Gateway, complete: Any) -> None:
    _, told = real.post("/tokenize", model="smollm2", prompt=" London")
    assert told["count"] == 1
    first = complete(max_tokens=1, logit_bias={told["tokens"][0]: 100}).choices[0].text
    assert first == " London"


def test_n(chat: Any) -> None:
    answer = chat(POEM, n=3, temperature=1.2, seed=5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3
    assert answer.usage.completion_tokens > 24 >= chat(POEM, seed=5).usage.completion_tokens
    assert answer.usage.prompt_tokens == chat(POEM).usage.prompt_tokens
    again = chat(POEM, n=3, temperature=1.2, seed=5)
    # the first words: sums of a batch depend on who else is in it, and later ones may differ
    assert [choice.message.content.split()[0] for choice in again.choices] == [
        choice.message.content.split()[0] for choice in answer.choices
    ]


def test_logprobs_of_a_chat(chat: Any) -> None:
    assert chat().choices[0].logprobs is None
    choice = chat(logprobs=True, top_logprobs=3).choices[0]
    tokens = choice.logprobs.content
    assert "".join(token.token for token in tokens).startswith(choice.message.content)
    for token in tokens:
        assert bytes(token.bytes).decode() == token.token
        assert token.logprob <= 0
        told = [top.logprob for top in token.top_logprobs]
        assert len(told) == 3 and told == sorted(told, reverse=True)
        assert token.top_logprobs[0].token == token.token  # greedy
        assert sum(map(math.exp, told)) <= 1 + 1e-4
    assert chat(logprobs=True).choices[0].logprobs.content[0].top_logprobs == []


def test_logprobs_of_a_token_that_is_no_whole_character(complete: Any, chat: Any) -> None:
    emoji = [{"role": "user", "content": "Repeat exactly: \N{PARTY POPPER}\N{ROCKET}\N{GRINNING FACE}"}]
    tokens = chat(emoji, logprobs=True, max_tokens=16).choices[0].logprobs.content
    for token in tokens:
        assert (token.bytes is None) == ("\N{REPLACEMENT CHARACTER}" in token.token)


def test_logprobs_of_completions(complete: Any) -> None:
    assert complete().choices[0].logprobs is None
    choice = complete(logprobs=2).choices[0]
    told = choice.logprobs
    assert "".join(told.tokens) == choice.text
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == 8
    for token, value, top, offset in zip(
        told.tokens, told.token_logprobs, told.top_logprobs, told.text_offset, strict=True
    ):
        assert choice.text[offset : offset + len(token)] == token
        assert len(top) == 2 and list(top.values()) == sorted(top.values(), reverse=True)
        assert top[token] == value
    assert complete(logprobs=0).choices[0].logprobs.top_logprobs is None


# two at once go no further than their sums are sure to agree
@pytest.mark.parametrize("more", [{"temperature": 1, "seed": 1}, {"n": 2, "max_tokens": 2}])
def test_streams_tell_what_answers_tell(chat: Any, more: Any) -> None:
    asked = {"logprobs": True, "top_logprobs": 1, **more}
    whole = chat(FRANCE, **asked)
    chunks = list(chat(FRANCE, **asked, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    for choice in whole.choices:
        own = [chunk.choices[0] for chunk in chunks[:-1] if chunk.choices[0].index == choice.index]
        assert (own[0].delta.role, own[0].delta.content) == ("assistant", "")
        assert "".join(one.delta.content or "" for one in own) == choice.message.content
        assert [one.finish_reason for one in own] == [None] * (len(own) - 1) + [choice.finish_reason]
        tokens = [token.token for one in own if one.logprobs for token in one.logprobs.content]
        assert tokens == [token.token for token in choice.logprobs.content]


@pytest.mark.parametrize(("prompts", "most"), [(PROMPT, 8), ([PROMPT, OTHER], 1)])
def test_streams_of_completions(complete: Any, prompts: Any, most: int) -> None:
    asked = {"logprobs": 1, "max_tokens": most}
    whole = complete(prompts, **asked)
    chunks = list(complete(prompts, **asked, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage == whole.usage
    for choice in whole.choices:
        own = [chunk.choices[0] for chunk in chunks[:-1] if chunk.choices[0].index == choice.index]
        assert "".join(one.text for one in own) == choice.text
        assert own[-1].finish_reason == choice.finish_reason
        offsets = [offset for one in own if one.logprobs for offset in one.logprobs.text_offset]
        assert offsets == choice.logprobs.text_offset


def test_silence_is_filled_with_comments(real_server: Server) -> None:
    long = [{"role": "user", "content": "Tell me this story again. " * 250}]
    asked = {"model": "smollm2", "messages": long, "max_tokens": 2, "temperature": 0}
    with gateway_process.running(real_server.grpc, "--keep-alive", "0.02") as gateway:
        with gateway.streaming(CHAT, **asked) as response:
            heard = list(gateway_process.events(response))
        comments = [one for one in heard if isinstance(one, str) and one.startswith(":")]
        assert comments and heard[-1] == "[DONE]"
        # a client does not see them
        with openai.OpenAI(base_url=gateway.url, api_key="none", max_retries=0) as client:
            chunks = list(client.chat.completions.create(**asked, stream=True))
    told = [one for one in heard if isinstance(one, dict)]
    assert [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content] == [
        one["choices"][0]["delta"]["content"] for one in told if one["choices"][0]["delta"].get("content")
    ]


def test_prompts_of_tokens(real: Gateway, complete: Any) -> None:
    ids = real.post("/tokenize", model="smollm2", prompt=PROMPT)[1]["tokens"]
    assert real.post("/detokenize", model="smollm2", tokens=ids) == (200, {"prompt": PROMPT})
    plain = complete()
    assert complete(ids).choices[0].text == plain.choices[0].text
    assert complete(ids).usage == plain.usage
    others = real.post("/tokenize", model="smollm2", prompt=OTHER)[1]["tokens"]
    answers = complete([ids, others], max_tokens=1)
    assert [choice.text for choice in answers.choices] == [" Paris", " time"]


def test_batches_of_prompts(complete: Any) -> None:
    # one token: sums of a batch are not those of a row alone, and later ones may differ
    answers = complete([PROMPT, OTHER], n=2, max_tokens=1)
    assert [choice.index for choice in answers.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in answers.choices] == [" Paris", " Paris", " time", " time"]
    assert answers.usage.completion_tokens == 4


def test_echo(real: Gateway, complete: Any) -> None:
    ids = real.post("/tokenize", model="smollm2", prompt=PROMPT)[1]["tokens"]
    expected = PROMPT + complete().choices[0].text
    assert complete(echo=True).choices[0].text == expected
    assert complete(ids, echo=True).choices[0].text == expected
    assert "".join(chunk.choices[0].text for chunk in complete(echo=True, stream=True)) == expected


def test_parts_of_text_are_one_text(chat: Any) -> None:
    parts = [{"type": "text", "text": "What is the capital"}, {"type": "text", "text": "of France?"}]
    joined = [{"role": "user", "content": "What is the capital\nof France?"}]
    assert text(chat([{"role": "user", "content": parts}])) == text(chat(joined))


def test_developer_is_system(chat: Any) -> None:
    for role in ("developer", "system"):
        told = [{"role": role, "content": "You answer in upper case only."}, *FRANCE]
        assert chat(told).usage.prompt_tokens != chat().usage.prompt_tokens
    assert (
        len({text(chat([{"role": role, "content": "Shout."}, *FRANCE])) for role in ("developer", "system")})
        == 1
    )


@pytest.mark.parametrize(
    "token", ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<repo_name>", "<jupyter_code>"]
)
def test_control_tokens_of_users_are_text(token: str, real: Gateway, chat: Any) -> None:
    def count(content: str) -> int:
        return int(chat([{"role": "user", "content": content}]).usage.prompt_tokens)

    # one token where the caller writes the whole prompt, several of text in a chat
    assert real.post("/tokenize", model="smollm2", prompt=token)[1]["count"] == 1
    assert count(f"a{token}b") >= count("ab") + 3
    assert count(f"a{token}b{token}") >= count(f"a{token}b") + 3


def test_what_has_no_effect_is_accepted(chat: Any) -> None:
    fields = {"user": "somebody", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"}
    assert text(chat(**fields)) == text(chat())
    assert text(chat(response_format={"type": "text"})) == text(chat())
    assert text(chat(extra_body={"priority": 1})) == text(chat())


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "city", "schema": {"type": "object"}}},
    ],
)
def test_a_form_is_kept_or_refused_by_its_name(real: Gateway, form: Any) -> None:
    status, told = real.post(CHAT, model="smollm2", messages=FRANCE, response_format=form, max_tokens=200)
    if status == 200:  # an engine that guides
        choice = told["choices"][0]
        assert choice["finish_reason"] == "length" or isinstance(
            json.loads(choice["message"]["content"]), dict
        )
    else:
        assert (status, told["error"]["param"]) == (400, "response_format")


@pytest.mark.parametrize("where", ["body", "header"])
def test_a_deadline_is_passed_on(real: Gateway, where: str) -> None:
    fields: dict[str, Any] = {"model": "smollm2", "messages": POEM, "ignore_eos": True}
    headers = dict(gateway_process.JSON)
    if where == "body":
        fields["timeout"] = 0.3
    else:
        headers["Timeout"] = "0.3"
    status, _, body = real.request("POST", CHAT, json.dumps(fields).encode(), headers)
    assert (status, gateway_process.error_of(json.loads(body))["code"]) == (408, "timeout")
    # once it has begun the error is an event
    fields["timeout"] = 1.5
    with real.streaming(CHAT, **fields) as response:
        *heard, last = gateway_process.events(response)
    assert heard and gateway_process.error_of(last)["code"] == "timeout"


def test_more_than_the_context_holds(real: Gateway) -> None:
    status, error = real.refusal(CHAT, model="smollm2", messages=FRANCE, max_completion_tokens=100_000)
    assert (status, error["param"], error["code"]) == (400, "messages", "context_length_exceeded")
    assert "max_completion_tokens is 100000" in error["message"]


def test_more_answers_than_the_engine_has_places(real: Gateway) -> None:
    # 16 run and 128 wait
    fields = {
        "model": "smollm2",
        "prompt": [PROMPT] * 4,
        "n": 64,
        "temperature": 1,
        "max_tokens": 400,
        "ignore_eos": True,
    }
    status, headers, body = real.request(
        "POST", COMPLETIONS, json.dumps(fields).encode(), {"Content-Type": "application/json"}
    )
    assert (status, headers["retry-after"]) == (429, "1")
    assert json.loads(body)["error"]["type"] == "rate_limit_error"
    # the prompts that had places are cancelled with the one that had none, else they would take minutes
    until(lambda: real.post(CHAT, model="smollm2", messages=FRANCE, max_tokens=1)[0] == 200)
