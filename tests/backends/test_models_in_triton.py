"""The three Python models inside a real Triton, on a tiny model that generates at random."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tokenizers import Tokenizer
from tritonclient.grpc import model_config_pb2

from backends.front.metrics import LOOKS_BETWEEN_COUNTS, SECONDS_BETWEEN_LOOKS
from builder import model_config
from builder.planning.models import Instances, ModelPlan
from builder.server import Options, Server
from builder.triton_client import client as clients
from builder.triton_client.answer import Answer, TritonError
from ensembles import text_generation

pytestmark = pytest.mark.triton

ROOT = Path(__file__).parents[2]
NAME = "tiny"
IDS = ("bos_id", "end_ids", "pad_id")
PROMPT = list(range(100, 120))
ACTIVE = "builder_engine_active_requests"
CANCELLED = "builder_engine_cancelled_total"


@pytest.fixture(scope="session")
def repository(
    artifact: Path, tokenizer_folder: Path, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    home = tmp_path_factory.mktemp("repository")
    for member in text_generation.PIPELINE.members:
        if member.batching:
            # long enough that requests sent together are one batch
            batching = dataclasses.replace(member.batching, max_queue_delay_microseconds=100_000)
            member = dataclasses.replace(member, batching=batching)
        instances = None if member.steps else Instances("KIND_CPU")
        folder = home / f"{NAME}{member.suffix}" / "1"
        folder.mkdir(parents=True)
        plan = ModelPlan(folder.parent.name, member, instances)
        (folder.parent / "config.pbtxt").write_text(
            model_config.text(plan, SimpleNamespace(name=NAME, models=()))
        )
        if member.steps:
            (folder / ".keep").touch()
            continue
        shutil.copy(ROOT / "backends" / member.code / "model.py", folder)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "backends", folder / "backends", ignore=ignored)
        shutil.copytree(tokenizer_folder, folder / "tokenizer")
        # as a build writes it: an engine and its artifact are the front's alone
        told = settings if folder == home / NAME / "1" else {name: settings.get(name) for name in IDS}
        (folder / "settings.json").write_text(json.dumps(told))
    shutil.copytree(artifact, home / NAME / "1" / "model")
    return home


def connect(server: Server, repository: Path) -> clients.Client:
    configs = {
        file.parent.name: text_format.Parse(file.read_text(), model_config_pb2.ModelConfig())
        for file in repository.glob("*/config.pbtxt")
    }
    return clients.Client(server.http, server.grpc, server.metrics, configs)


@pytest.fixture(scope="session")
def client(boot: Callable[..., Server], repository: Path) -> clients.Client:
    return connect(boot(repository, timeout=120.0), repository)


def counter(client: clients.Client, family: str) -> float:
    return sum(value for (name, _), value in client.metrics().items() if name == family)


@pytest.fixture
def idle(client: clients.Client) -> Iterator[None]:
    """Require an engine that rests before and after the test."""
    assert client.until(lambda: counter(client, ACTIVE) == 0, 20)
    yield
    assert client.until(lambda: counter(client, ACTIVE) == 0, 20)


def endless(tokens: int = 1900) -> dict[str, Any]:
    return {"input_ids": PROMPT, "max_tokens": tokens, "min_tokens": tokens, "stream": True}


def test_clients_see_how_long_answers_took(client: clients.Client) -> None:
    families = {
        "builder_request_first_token_seconds_count": 1,
        "builder_request_inter_token_seconds_count": 11,
        "builder_request_queue_seconds_count": 1,
        "builder_request_prompt_tokens_total": len(PROMPT),
    }

    def read() -> list[float]:
        time.sleep(2 * SECONDS_BETWEEN_LOOKS * LOOKS_BETWEEN_COUNTS)
        return [counter(client, family) for family in families]

    before = read()
    while before != (again := read()):
        before = again
    client.stream(NAME, {"input_ids": PROMPT, "max_tokens": 12, "end_id": -1})
    grown = [value + more for value, more in zip(before, families.values(), strict=True)]
    assert client.until(lambda: read() == grown, 20)
    metrics = client.metrics()
    name = "builder_request_first_token_seconds"
    assert sum(value for (family, labels), value in metrics.items() if family == f"{name}_bucket") >= 1
    assert 0 < counter(client, f"{name}_sum") < 300


def test_whole_equals_streamed_and_detokenized(client: clients.Client, tokenizer_folder: Path) -> None:
    inputs = {"input_ids": PROMPT, "max_tokens": 60, "end_id": -1}
    whole = client.stream(NAME, inputs)
    streamed = client.stream(NAME, {**inputs, "stream": True})
    assert len(whole.replies) == 1
    assert whole.ended and streamed.ended
    assert streamed.ids() == whole.ids()
    assert streamed.text() == whole.text()
    assert whole.finish_reason() == "length"
    assert whole.last("num_input_tokens") == 20 and whole.last("num_output_tokens") == 60
    library = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    expected = library.decode(whole.ids(), skip_special_tokens=True)
    assert expected in (whole.text(), whole.text() + "\ufffd")
    pieces = [
        client.infer(
            f"{NAME}_detokenizer",
            {"output_ids": reply.ids, "context_ids": [int(one) for one in reply.outputs["context_ids"]]},
        )["text_output"][0, 0].decode()
        for reply in streamed.replies
        if reply.ids
    ]
    assert "".join(pieces) == whole.text()


def test_bad_text_in_a_batch_of_the_tokenizer_fails_alone(
    client: clients.Client, tokenizer_folder: Path
) -> None:
    library = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    texts = [b"\xff\xfe" if place % 4 == 1 else f"text number {place}".encode() for place in range(16)]
    model = f"{NAME}_tokenizer"
    before = counter(client, "nv_inference_exec_count")

    def ask(text: bytes) -> Any:
        try:
            return client.infer(model, {"text_input": text})["input_ids"].reshape(-1).tolist()
        except TritonError as error:
            return error

    with ThreadPoolExecutor(len(texts)) as pool:
        answers = list(pool.map(ask, texts))
    assert counter(client, "nv_inference_exec_count") - before < len(texts)  # they were in batches
    for text, answer in zip(texts, answers, strict=True):
        if text == b"\xff\xfe":
            assert "text_input is not valid UTF-8" in str(answer)
        else:
            assert answer == library.encode(text.decode()).ids


def test_rows_of_one_request_are_padded(client: clients.Client) -> None:
    raw = clients.Raw("BYTES", (2, 1), [b"Hello", b"Hello there, how are you?"])
    answer = client.infer(f"{NAME}_tokenizer", {"text_input": raw})
    lengths = answer["input_lengths"].reshape(-1).tolist()
    assert answer["input_ids"].shape == (2, max(lengths))
    assert (answer["input_ids"][0, lengths[0] :] == 2).all()
    assert lengths[0] < lengths[1]


def test_bad_ids_in_a_batch_of_the_detokenizer_fail_alone(client: clients.Client) -> None:
    model = f"{NAME}_detokenizer"

    def ask(ids: list[int]) -> Any:
        try:
            return client.infer(model, {"output_ids": ids})["text_output"][0, 0].decode()
        except TritonError as error:
            return error

    requests = [[28, 999_999] if place % 4 == 1 else [28, 29 + place] for place in range(16)]
    with ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(ask, requests))
    for ids, answer in zip(requests, answers, strict=True):
        if ids[1] == 999_999:
            assert "output_ids holds 999999, ids are 0 to 49151" in str(answer)
        else:
            assert answer == ask(ids)
            assert isinstance(answer, str)


def leave_grpc(client: clients.Client) -> None:
    with client.open() as stream:
        client.request(stream, NAME, endless())
        stream.receive()
        stream.cancel()


def leave_http(client: clients.Client) -> None:
    with client.open_http(NAME, endless(), "generate_stream") as call:
        next(call.events())


@pytest.mark.parametrize("leave", [leave_grpc, leave_http])
def test_a_client_that_leaves_frees_its_slot(
    client: clients.Client, idle: None, leave: Callable[[clients.Client], None]
) -> None:
    cancelled, tokens = counter(client, CANCELLED), counter(client, "builder_engine_generated_tokens_total")
    leave(client)
    assert client.until(lambda: counter(client, CANCELLED) == cancelled + 1, 10)
    assert client.until(lambda: counter(client, ACTIVE) == 0, 10)
    assert counter(client, "builder_engine_generated_tokens_total") - tokens < 1900


def test_a_client_that_leaves_the_line_is_forgotten(client: clients.Client, idle: None) -> None:
    with client.open() as running, client.open() as waiting:
        for number in range(4):
            client.request(running, NAME, endless(), request_id=f"{number}")
        assert client.until(lambda: counter(client, ACTIVE) == 4, 10)
        client.request(waiting, NAME, endless())
        assert client.until(lambda: counter(client, "builder_engine_waiting_requests") == 1, 10)
        waiting.cancel()
        assert client.until(lambda: counter(client, "builder_engine_waiting_requests") == 0, 10)
        running.cancel()


def test_the_same_request_id_twice_at_once(client: clients.Client, idle: None) -> None:
    inputs = [{"input_ids": [start, start + 1], "max_tokens": 40, "stream": True} for start in (200, 300)]
    alone = [client.stream(NAME, one).ids() for one in inputs]
    assert alone[0] != alone[1]
    answers: list[Answer] = [Answer(), Answer()]

    def ask(place: int) -> None:
        answers[place] = client.stream(NAME, inputs[place], request_id="same")

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.ids() for answer in answers] == alone


def test_several_sequences_differ_by_their_seed(client: clients.Client) -> None:
    inputs = {"input_ids": PROMPT, "max_tokens": 10, "temperature": 1.0, "seed": 3}
    both = client.stream(NAME, {**inputs, "num_return_sequences": 2})
    assert both.ids(0) == client.stream(NAME, inputs).ids()
    assert both.ids(1) == client.stream(NAME, {**inputs, "seed": 4}).ids()


def test_log_probs_and_scores(client: clients.Client) -> None:
    inputs = {"input_ids": PROMPT, "max_tokens": 5, "return_log_probs": True, "prompt_logprobs": True}
    answer = client.stream(NAME, inputs)
    values = answer.values("output_log_probs")
    assert len(values) == 5
    assert answer.last("cum_log_probs") == pytest.approx(sum(values), abs=1e-4)
    assert len(answer.values("prompt_log_probs")) == len(PROMPT) - 1
    again = client.stream(
        NAME, {"input_ids": PROMPT + answer.ids(), "max_tokens": 1, "prompt_logprobs": True}
    )
    assert np.allclose(again.values("prompt_log_probs")[-5:], values, atol=1e-3)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"text_input": "a", "temperature": -1.0}, "temperature is -1"),
    ({"text_input": b"\xff"}, "text_input is not valid UTF-8"),
    ({"input_ids": [5] * 2048}, "prompt has 2048 tokens, the context holds 2048"),
    ({"messages": "{"}, "not valid JSON"),
    ({"max_tokens": 3}, "none was sent"),
    ({"text_input": "a", "beam_width": 2}, "does not support 'beam_width'"),
    ({"text_input": "a", "lora_name": "law"}, "lora_name is 'law': this deployment has none"),
]


@pytest.mark.parametrize(("inputs", "words"), BAD)
def test_a_refusal_is_final_and_harms_nobody(
    client: clients.Client, idle: None, inputs: dict[str, Any], words: str
) -> None:
    with client.open() as neighbour:
        client.request(neighbour, NAME, endless(60))
        refused = client.stream(NAME, inputs)
        assert words in str(refused.error)
        ids, ended = 0, False
        while not ended:
            _, reply, ended = neighbour.receive()
            ids += len(reply.ids) if reply else 0
    assert ids == 60


@pytest.mark.parametrize("sent", [{"priority": 101}, {"parameters": {"priority": 101}}])
def test_the_priority_of_generate_reaches_the_front(client: clients.Client, sent: dict[str, Any]) -> None:
    answer = client.generate(NAME, {"text_input": "Hello", "max_tokens": 3, **sent})
    assert "priority is 101, it must be 0 to 100" in str(answer.error)


def test_misspelt_inputs_of_generate_are_refused(client: clients.Client) -> None:
    answer = client.generate(NAME, {"text_input": "Hello", "max_token": 3})
    assert "unknown parameter max_token" in str(answer.error)
    assert client.generate(NAME, {"text_input": "Hello", "max_tokens": 3}).last("num_output_tokens") == 3


def test_what_the_line_cannot_hold_is_refused_and_the_rest_served(client: clients.Client, idle: None) -> None:
    with client.open() as stream:
        for number in range(60):
            client.request(stream, NAME, {"input_ids": PROMPT, "max_tokens": 40}, request_id=f"{number}")
        served = refused = 0
        while served + refused < 60:
            try:
                served += stream.receive()[2]
            except TritonError as error:
                assert "try again later" in str(error)
                refused += 1
    assert served >= 36
    assert refused > 0


GUIDED = {
    "input_ids": PROMPT,
    "max_tokens": 40,
    "guided_decoding_guide_type": "regex",
    "guided_decoding_guide": "(yes|no), [0-9]{3}; (yes|no)",
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_guided_answer_has_its_form(client: clients.Client, stream: bool) -> None:
    answer = client.stream(NAME, {**GUIDED, "stream": stream})
    assert re.fullmatch(GUIDED["guided_decoding_guide"], answer.text()), answer
    assert answer.finish_reason() == "stop"
    over_http = client.generate(NAME, GUIDED)
    assert (over_http.text(), over_http.ids()) == (answer.text(), answer.ids())


def test_what_else_may_end_a_guided_answer_does(client: clients.Client) -> None:
    whole = client.stream(NAME, GUIDED)
    stopped = client.stream(NAME, {**GUIDED, "stop_words": ["; "]})
    assert (stopped.text(), stopped.finish_reason()) == (whole.text().partition(";")[0], "stop")
    cut = client.stream(NAME, {**GUIDED, "max_tokens": 3})
    assert (cut.ids(), cut.finish_reason()) == (whole.ids()[:3], "length")
    # an end that may not come yet, and one that has to
    longer = client.stream(NAME, {**GUIDED, "min_tokens": 40, "end_id": -1})
    assert (longer.ids(), longer.finish_reason()) == (whole.ids(), "stop")


def test_each_of_several_guided_sequences_has_the_form(client: clients.Client) -> None:
    sampled = {**GUIDED, "num_return_sequences": 4, "temperature": 1.5, "seed": 11, "stream": True}
    first, again = (client.stream(NAME, sampled) for _ in range(2))
    texts = [first.text(place) for place in range(4)]
    assert all(re.fullmatch(GUIDED["guided_decoding_guide"], text) for text in texts), texts
    assert len(set(texts)) > 1
    assert [again.text(place) for place in range(4)] == texts


@pytest.mark.parametrize(
    ("kind", "guide"),
    [
        ("regex", "(blue"),
        ("regex", "a" * 70_000),
        ("json_schema", '{"type": "nothing"}'),
        ("json_schema", '{"$ref": "#"}'),
        ("ebnf_grammar", "root ::= absent"),
        ("ebnf_grammar", "\n".join(f'r{place} ::= r{place + 1} "a"' for place in range(3000))),
    ],
)
def test_a_guide_that_is_none_is_refused_and_harms_nobody(
    client: clients.Client, kind: str, guide: str, idle: None
) -> None:
    wrong = {**GUIDED, "guided_decoding_guide_type": kind, "guided_decoding_guide": guide}
    with ThreadPoolExecutor(5) as pool:
        beside = [pool.submit(client.stream, NAME, GUIDED) for _ in range(2)]
        refused = client.stream(NAME, wrong)
        texts = {future.result().text() for future in beside}
    assert "guided_decoding_guide" in str(refused.error)
    assert not refused.replies
    assert texts == {client.stream(NAME, GUIDED).text()}


def test_more_sequences_than_places_fail_as_one(client: clients.Client, idle: None) -> None:
    inputs = {"input_ids": PROMPT, "max_tokens": 200, "num_return_sequences": 50, "stream": True}
    assert "try again later" in str(client.stream(NAME, inputs).error)
    assert client.stream(NAME, {"input_ids": PROMPT, "max_tokens": 3}).finish_reason() == "length"


def test_a_deadline_ends_a_running_request(client: clients.Client, idle: None) -> None:
    answer = client.stream(NAME, endless(), timeout=50_000)
    assert "Request timeout expired" in str(answer.error)


@pytest.mark.slow
def test_sigterm_lets_a_stream_finish_even_after_refusals(
    boot: Callable[..., Server], repository: Path
) -> None:
    server = boot(repository, timeout=120.0, options=Options(exit_timeout=60))
    client = connect(server, repository)
    for inputs, _ in BAD:
        assert client.stream(NAME, inputs).error
    # nobody leaves over HTTP here: Triton 2.51 on a busy machine may keep such a request, and the model too,
    # until its exit timeout, though the model has answered and let go of it
    assert client.until(lambda: counter(client, ACTIVE) == 0, 30)
    ids = 0
    stopping = threading.Thread(target=server.stop)
    with client.open_http(NAME, endless(500), "generate_stream") as call:
        for event in call.events():
            assert "error" not in event
            ids += len(event["output_ids"]) if isinstance(event["output_ids"], list) else 1
            if not stopping.ident:
                stopping.start()
                time.sleep(0.2)
    stopping.join()
    assert ids == 500
    assert server.exit_code() == 0
