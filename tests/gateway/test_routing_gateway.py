"""Routes in a gateway at work: what clients get for a name, whoever answers, and changes as it runs."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import routing_repository
from gateway_process import JSON, error_of, events
from processes import children, command_line, until
from routing_gateway import CHAT, HELLO, Routed, routed
from routing_repository import CONTEXTS, CUT, FAILING, FRESH, FULL, LATE, SPARE, STEADY, VECTORS, Moods, slow

from builder.gateway.keys import clerk, database, ledger
from builder.gateway.keys.key import Terms
from builder.gateway.routing import reading
from builder.server import Options, Server
from builder.triton_client import Client

pytestmark = pytest.mark.triton
ROUTES = f"""
[routes.small]
to = "{STEADY}"

[routes.tiny]
to = "small"

[routes.halves]
split = {{ {STEADY} = 1, {FRESH} = 1 }}

[routes.safe]
to = "{FRESH}"
fallback = ["{SPARE}", "{STEADY}"]

[routes.nothing]
to = "nowhere"

[routes.vector]
to = "{VECTORS[0]}"

[routes.vectors]
split = {{ {VECTORS[0]} = 1, {VECTORS[1]} = 1 }}

[routes.safe_vectors]
to = "{VECTORS[0]}"
fallback = ["{VECTORS[1]}"]
"""


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Moods:
    return Moods(tmp_path_factory.mktemp("moods"))


@pytest.fixture(autouse=True)
def calm(moods: Moods) -> None:
    moods.reset()


@pytest.fixture(scope="module")
def server(boot: Callable[..., Server], moods: Moods, tmp_path_factory: pytest.TempPathFactory) -> Server:
    repository = routing_repository.write(tmp_path_factory.mktemp("routing") / "repository", moods)
    return boot(repository, options=Options(model_control="explicit"))


@pytest.fixture(scope="module")
def triton(server: Server) -> Client:
    return Client(server.http, server.grpc, server.metrics, {})


@pytest.fixture(scope="module")
def shared(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routed]:
    """A gateway whose routes nobody changes."""
    with routed(server.grpc, tmp_path_factory.mktemp("shared"), ROUTES) as made:
        yield made


@pytest.mark.parametrize("name", ["small", "tiny"])
@pytest.mark.parametrize(
    ("path", "fields", "told"),
    [
        (CHAT, {"messages": HELLO}, "model"),
        ("/v1/completions", {"prompt": "a bird"}, "model"),
        ("/v1/responses", {"input": "a bird"}, "model"),
        ("/api/chat", {"messages": HELLO, "stream": False}, "model"),
        ("/api/generate", {"prompt": "a bird", "stream": False}, "model"),
        ("/generate", {"inputs": "a bird"}, None),
        ("/tokenize", {"prompt": "a bird"}, None),
        ("/detokenize", {"tokens": [40, 41]}, None),
    ],
)
def test_an_alias_at_every_endpoint(
    shared: Routed, name: str, path: str, fields: dict[str, Any], told: str | None
) -> None:
    status, answer = shared.gateway.post(path, model=name, **fields)
    assert status == 200, answer
    assert told is None or answer[told] == STEADY
    status, direct = shared.gateway.post(path, model=STEADY, **fields)
    same = {"choices", "output", "message", "response", "generated_text", "tokens", "prompt"}
    for field in same & answer.keys() - {"output"}:
        assert answer[field] == direct[field]


def test_an_alias_of_an_embedding_model(shared: Routed) -> None:
    status, told = shared.gateway.post("/v1/embeddings", model="vector", input=["a", "b"])
    assert (status, told["model"]) == (200, VECTORS[0])
    assert [one["embedding"] for one in told["data"]] == [[1.0, 0.0]] * 2


@pytest.mark.parametrize("name", ["vectors", "safe_vectors"])
def test_vectors_of_several_models_are_not_mixed(shared: Routed, name: str) -> None:
    status, error = shared.gateway.refusal("/v1/embeddings", model=name, input="a")
    assert (status, error["code"]) == (404, "model_not_found")
    assert "cannot be compared" in error["message"] and f"'{name}'" in error["message"]
    assert name not in shared.models()


def test_ollamas_tag_behind_an_alias(shared: Routed) -> None:
    status, told = shared.gateway.post("/api/chat", model="small:latest", messages=HELLO, stream=False)
    assert (status, told["model"]) == (200, STEADY)
    assert {"small", STEADY} <= {one["name"] for one in shared.gateway.get("/api/tags")[1]["models"]}


def test_streams_tell_who_answers(shared: Routed) -> None:
    with shared.gateway.streaming(CHAT, model="small", messages=HELLO) as response:
        *chunks, done = events(response)
    assert done == "[DONE]" and {chunk["model"] for chunk in chunks} == {STEADY}


def test_lists_have_what_can_be_answered(shared: Routed) -> None:
    models = shared.models()
    assert {"small", "tiny", "halves", "safe", "vector"} <= models.keys()
    assert not {"nothing", "vectors"} & models.keys()
    assert (models["small"]["owned_by"], models[STEADY]["owned_by"]) == ("builder", "triton")
    assert models["vector"]["task"] == "embedding"
    # whoever is led may count on the smallest context only
    assert models["small"]["max_model_len"] == CONTEXTS[STEADY]
    assert models["halves"]["max_model_len"] == CONTEXTS[FRESH]
    for name in ("small", "halves", STEADY):
        assert shared.gateway.get(f"/v1/models/{name}") == (200, models[name])
    for name in ("nothing", "nobody"):
        status, told = shared.gateway.get(f"/v1/models/{name}")
        assert (status, error_of(told)["code"]) == (404, "model_not_found")


def test_a_name_that_leads_to_nothing_loaded(shared: Routed) -> None:
    status, error = shared.gateway.refusal(CHAT, model="nothing", messages=HELLO)
    assert (status, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert error["message"] == "none of the models that 'nothing' leads to is loaded: nowhere"


def test_a_name_that_leads_to_another_kind(shared: Routed) -> None:
    status, error = shared.gateway.refusal(CHAT, model="vector", messages=HELLO)
    assert (status, error["message"]) == (
        404,
        "'vector' is a model for embedding: this endpoint asks models for chat",
    )
    assert shared.gateway.refusal("/v1/embeddings", model="small", input="a")[0] == 404


def test_a_users_model_is_that_of_the_hash(shared: Routed) -> None:
    route = reading.parse(ROUTES, shared.path)["halves"]
    users = [f"user-{number}" for number in range(12)]
    expected = [route.order(user)[0] for user in users]
    assert set(expected) == {STEADY, FRESH}
    for _ in range(2):
        assert [shared.answering("halves", user=user) for user in users] == expected
    assert [shared.answering("halves", safety_identifier=user) for user in users] == expected


def test_nobody_in_particular_is_led_anywhere(shared: Routed) -> None:
    found = Counter(shared.answering("halves") for _ in range(60))
    # 60 throws of a coin that all fall alike
    assert found.keys() == {STEADY, FRESH}


def test_what_is_led_is_counted(shared: Routed) -> None:
    before = shared.figure("routed_total", STEADY, "small")
    requests = shared.figure("requests_total", STEADY, CHAT, "200")
    assert shared.answering("tiny") == STEADY
    until(lambda: shared.figure("routed_total", STEADY, "small") == before + 1)
    until(lambda: shared.figure("requests_total", STEADY, CHAT, "200") == requests + 1)
    assert shared.answering(STEADY) == STEADY
    assert shared.figure("routed_total", STEADY, "small") == before + 1


def test_a_model_without_a_place_is_passed_by(shared: Routed, moods: Moods) -> None:
    assert shared.answering("safe") == FRESH
    moods[FRESH] = FULL
    passed = shared.figure("fallbacks_total", FRESH, "safe")
    assert shared.answering("safe") == SPARE
    moods[SPARE] = FULL
    assert shared.answering("safe") == STEADY
    moods[STEADY] = FULL
    status, told = shared.ask("safe")
    assert (status, error_of(told)["code"]) == (429, "overloaded")
    until(lambda: shared.figure("fallbacks_total", FRESH, "safe") == passed + 3)
    # without a fallback it stays a refusal
    assert shared.ask("small")[0] == 429


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"messages": HELLO}),
        ("/v1/completions", {"prompt": "a bird"}),
        ("/v1/responses", {"input": "a bird"}),
        ("/api/chat", {"messages": HELLO}),
        ("/api/generate", {"prompt": "a bird"}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_falling_back_at_every_endpoint(
    shared: Routed, moods: Moods, path: str, fields: dict[str, Any], stream: bool
) -> None:
    moods[FRESH] = FULL
    body = json.dumps({"model": "safe", "stream": stream, **fields}).encode()
    status, headers, told = shared.gateway.request("POST", path, body)
    assert status == 200 and "retry-after" not in headers
    assert f'"model":"{SPARE}"'.encode() in told and b"error" not in told.lower().replace(
        b'"error":null', b""
    )
    assert f'"{FRESH}"'.encode() not in told


def test_a_large_body_is_sent_on_whole(shared: Routed, moods: Moods) -> None:
    moods[FRESH] = FULL
    text = " ".join(["a bird"] * 40)
    messages = [{"role": "user", "content": text}]
    status, told = shared.ask("safe", messages=messages, metadata={"filling": "x" * 2**20})
    assert status == 200 and text in told["choices"][0]["message"]["content"]


def test_what_has_begun_goes_nowhere_else(shared: Routed, moods: Moods) -> None:
    moods[FRESH] = CUT
    with shared.gateway.streaming(CHAT, model="safe", messages=HELLO) as response:
        *chunks, last = events(response)
    assert "broke off" in error_of(last)["message"]
    assert {chunk["model"] for chunk in chunks} == {FRESH}


def test_what_breaks_one_model_is_not_tried_on_the_next(shared: Routed, moods: Moods) -> None:
    moods[FRESH] = FAILING
    assert shared.ask("safe")[0] == 500
    moods[FRESH] = LATE
    assert shared.ask("safe")[0] == 408
    moods[FRESH] = "fine"
    assert shared.ask("safe", temperature=9)[0] == 400
    assert shared.ask("safe", max_tokens=10_000)[0] in (200, 400)


def test_a_model_that_is_unloaded(shared: Routed, moods: Moods, triton: Client) -> None:
    triton.call("grpc", "unload_model", FRESH)
    try:
        # at once, and when the gateway has noticed
        assert shared.answering("safe") == SPARE
        until(lambda: FRESH not in shared.models())
        passed = shared.figure("fallbacks_total", FRESH, "safe")
        assert shared.answering("safe") == SPARE
        until(lambda: shared.figure("fallbacks_total", FRESH, "safe") == passed + 1)
        # a split goes on to its fallback only, and it has none
        statuses = {shared.ask("halves", user=f"user-{number}")[0] for number in range(12)}
        assert statuses == {200, 404}
        assert shared.models()["halves"]["max_model_len"] == CONTEXTS[STEADY]
    finally:
        triton.call("grpc", "load_model", FRESH)
    until(lambda: shared.answering("safe") == FRESH)


def test_the_only_model_needs_no_name_of_tgis_clients(server: Server, tmp_path: Path) -> None:
    """Here are three, so that one must be named, by either of its names."""
    with routed(server.grpc, tmp_path, f'[routes.only]\nto = "{STEADY}"\n') as made:
        status, told = made.gateway.post("/generate", inputs="a bird")
        assert status == 422 and STEADY in told["error"]


def test_the_file_is_read_as_it_changes(server: Server, tmp_path: Path) -> None:
    with routed(server.grpc, tmp_path, f'[routes.small]\nto = "{STEADY}"\n', "--workers", "2") as made:
        for model in (FRESH, SPARE):
            made.path.write_text(f'[routes.small]\nto = "{model}"\n')
            until(lambda model=model: {made.answering("small") for _ in range(6)} == {model})
        # as Kubernetes and careful editors do
        other = tmp_path / "other.toml"
        other.write_text(f'[routes.little]\nto = "{STEADY}"\n')
        other.rename(made.path)
        until(lambda: {made.ask("little")[0] for _ in range(6)} == {200})
        until(lambda: {made.ask("small")[0] for _ in range(6)} == {404})
        assert "small" not in made.models()


BROKEN = (
    ("[routes.small\n", "is not valid TOML"),
    ('[routes.small]\ntoo = "x"\n', "routes.small.too is unknown"),
    (None, "cannot be read"),
)


@pytest.mark.parametrize(("text", "said"), BROKEN)
def test_a_broken_file_changes_nothing(server: Server, tmp_path: Path, text: str | None, said: str) -> None:
    good = f'[routes.small]\nto = "{STEADY}"\n'
    # one line, although two workers look
    with routed(server.grpc, tmp_path, good, "--workers", "2", last_words=said) as made:
        well = made.figure("routes_last_reload_success_timestamp_seconds")
        assert made.figure("routes_last_reload_successful") == 1 and well > 0
        if text is None:
            made.path.unlink()
        else:
            made.path.write_text(text)
        until(lambda: {made.figure("routes_last_reload_successful") for _ in range(6)} == {0})
        assert {made.answering("small") for _ in range(6)} == {STEADY}
        made.path.write_text(good.replace(STEADY, FRESH))
        until(lambda: {made.figure("routes_last_reload_successful") for _ in range(6)} == {1})
        until(lambda: {made.answering("small") for _ in range(6)} == {FRESH})
        assert made.figure("routes_last_reload_success_timestamp_seconds") > well


def test_a_worker_that_comes_while_the_file_is_broken(server: Server, tmp_path: Path) -> None:
    words = "is not valid TOML"
    good = f'[routes.small]\nto = "{STEADY}"\n'
    with routed(server.grpc, tmp_path, good, "--workers", "2", last_words=words) as made:
        made.path.write_text("[routes")
        until(lambda: {made.figure("routes_last_reload_successful") for _ in range(6)} == {0})
        before = set(workers(made))
        os.kill(min(before), signal.SIGKILL)
        until(lambda: len(set(workers(made)) - before) == 1)
        until(lambda: answers(made, 12) == {STEADY})


def workers(made: Routed) -> list[int]:
    """Return the processes that answer: those of a gateway that have its port open."""
    found = children(made.gateway.process.pid)
    return [one for one in found if any("spawn_main" in word for word in command_line(one))]


def answers(made: Routed, times: int) -> set[str]:
    found = set()
    for _ in range(times):
        try:
            found.add(made.answering("small"))
        except OSError:
            found.add("")
    return found


def test_a_route_that_hides_a_model_is_told(server: Server, tmp_path: Path) -> None:
    words = f"route '{STEADY}' hides the model of this name"
    text = f'[routes.{STEADY}]\nto = "{SPARE}"\n[routes.{FRESH}]\nto = "{FRESH}"\nfallback = ["{SPARE}"]\n'
    with routed(server.grpc, tmp_path, text, last_words=words) as made:
        assert (made.answering(STEADY), made.answering(FRESH)) == (SPARE, FRESH)
        assert made.models()[STEADY]["max_model_len"] == CONTEXTS[SPARE]
        listed = [one["id"] for one in made.gateway.get("/v1/models")[1]["data"]]
        assert len(listed) == len(set(listed))
        # it is said at the first look, and not again
        for lines in (1, 2):
            made.write(text + "\n" * lines)


def key(path: Path, name: str, **terms: Any) -> dict[str, str]:
    """Return the headers of a new key."""
    with closing(database.connect(str(path))) as opened:
        return {
            **JSON,
            "Authorization": f"Bearer {ledger.create(opened, name, Terms(**terms), clerk.clock())[1]}",
        }


def rows(path: Path) -> list[tuple[Any, ...]]:
    with closing(database.connect(str(path))) as opened:
        found = opened.rows(
            "SELECT name, model, prompt_tokens, completion_tokens, cost, status FROM requests"
            " JOIN keys ON keys.id = requests.key ORDER BY at"
        )
    return [tuple(row) for row in found]


def test_keys_and_routes(server: Server, moods: Moods, tmp_path: Path) -> None:
    path, prices = tmp_path / "keys.db", tmp_path / "prices.toml"
    prices.write_text(f"[{FRESH}]\nprompt = 1\ncompletion = 1\n[{SPARE}]\nprompt = 3\ncompletion = 3\n")
    with closing(database.connect(str(path), creating=True)) as opened:
        database.prepare(opened)
    words = ("--keys", str(path), "--prices", str(prices))
    with routed(server.grpc, tmp_path, ROUTES, *words) as made:

        def ask(headers: dict[str, str], model: str, **fields: Any) -> tuple[int, Any]:
            body = json.dumps({"model": model, "messages": HELLO, **fields}).encode()
            status, _, told = made.gateway.request("POST", CHAT, body, headers)
            return status, json.loads(told)

        def listed(headers: dict[str, str]) -> set[str]:
            told = json.loads(made.gateway.request("GET", "/v1/models", None, headers)[2])
            return {one["id"] for one in told["data"]}

        by_alias = key(path, "by_alias", models=frozenset({"safe"}))
        by_model = key(path, "by_model", models=frozenset({FRESH}))
        # through the alias, and no other way
        assert (status := ask(by_alias, "safe"))[0] == 200 and status[1]["model"] == FRESH
        moods[FRESH] = FULL
        assert ask(by_alias, "safe")[1]["model"] == SPARE
        moods[FRESH] = "fine"
        assert listed(by_alias) == {"safe"} and listed(by_model) == {FRESH}
        # who may not see it cannot tell it from one that is not there
        for headers, hidden in ((by_alias, FRESH), (by_alias, "small"), (by_model, "safe")):
            for name in (hidden, "nobody"):
                status, told = ask(headers, name)
                assert (status, error_of(told)) == (
                    404,
                    {
                        "message": f"The model '{name}' does not exist",
                        "type": "invalid_request_error",
                        "param": "model",
                        "code": "model_not_found",
                    },
                )
                got = made.gateway.request("GET", f"/v1/models/{name}", None, headers)
                assert (got[0], json.loads(got[2])) == (404, told)
        # TGI's clients name no model where there is one name only
        body = json.dumps({"inputs": "a bird", "parameters": {"max_new_tokens": 1}}).encode()
        assert (
            made.gateway.request("POST", "/generate", body, key(path, "tgi", models=frozenset({"small"})))[0]
            == 200
        )
        # what is written down is who answered, at its price
        done = [row for row in rows(path) if row[0] == "by_alias" and row[-1] == 200]
        assert [(name, model) for name, model, *_ in done] == [("by_alias", FRESH), ("by_alias", SPARE)]
        assert [cost for *_, cost, _ in done] == [done[0][2] + done[0][3], 3 * (done[1][2] + done[1][3])]
        # a user of a key has a model of his own, whatever other keys call theirs
        route = reading.parse(ROUTES, made.path)["halves"]
        for number in range(4):
            headers = key(path, f"team-{number}")
            team = headers["Authorization"].removeprefix("Bearer bk_")[:12]
            assert ask(headers, "halves")[1]["model"] == route.order(team)[0]
            for user in ("a", "b", "c"):
                assert ask(headers, "halves", user=user)[1]["model"] == route.order(f"{team} {user}")[0]


def canary(share: float = 50, **terms: float) -> str:
    told = {
        "model": f'"{FRESH}"',
        "share": share,
        "min_answers": 10,
        "max_error_rate": 0.2,
        "window": 60,
        **terms,
    }
    fields = ", ".join(f"{name} = {value}" for name, value in told.items())
    return f'[routes.chat]\nto = "{STEADY}"\ncanary = {{ {fields} }}\n'


def of_canary(text: str) -> tuple[str, str]:
    """Return users that the canary and the stable model answer."""
    route = reading.parse(text, Path("routes.toml"))["chat"]
    led = {route.order(user)[0]: user for user in (f"user-{number}" for number in range(100))}
    return led[FRESH], led[STEADY]


@pytest.mark.parametrize("mood", [FAILING, LATE, CUT, FULL])
def test_a_canary_that_fails_is_taken_back(server: Server, moods: Moods, tmp_path: Path, mood: str) -> None:
    text = canary()
    taken, other = of_canary(text)
    words = f"route 'chat': the canary '{FRESH}' is taken back"
    with routed(server.grpc, tmp_path, text, "--workers", "2", last_words=words) as made:
        assert (made.answering("chat", user=taken), made.answering("chat", user=other)) == (FRESH, STEADY)
        assert made.figure("canary_active", FRESH, "chat") == 1
        moods[FRESH] = mood

        def asked_again() -> bool:
            for _ in range(2):
                with made.gateway.started(
                    CHAT, model="chat", messages=HELLO, user=taken, stream=True
                ) as sent:
                    sent.getresponse().read()
            return made.figure("canary_active", FRESH, "chat") == 0

        until(asked_again)
        # well again, and still away
        moods[FRESH] = "fine"
        until(lambda: {made.answering("chat", user=taken) for _ in range(6)} == {STEADY})
        assert made.figure("canary_returns_total", FRESH, "chat") == 1
        made.path.write_text(text + '[routes.other]\nto = "spare"\n')
        until(lambda: {made.ask("other")[0] for _ in range(6)} == {200})
        assert {made.answering("chat", user=taken) for _ in range(6)} == {STEADY}
        # another trial, another chance
        made.path.write_text(canary(share=51))
        until(lambda: {made.answering("chat", user=taken) for _ in range(6)} == {FRESH})
        until(lambda: {made.figure("canary_active", FRESH, "chat") for _ in range(6)} == {1})


@pytest.mark.parametrize("stream", [False, True])
def test_a_canary_that_is_slow_is_taken_back(
    server: Server, moods: Moods, tmp_path: Path, stream: bool
) -> None:
    text = canary(max_latency_ratio=3)
    taken, other = of_canary(text)
    kind = f"({CHAT}, {'to the first event' if stream else 'whole'})"
    with routed(server.grpc, tmp_path, text, last_words=kind) as made:
        moods[FRESH] = slow(0.5)
        fields = {"model": "chat", "messages": HELLO, "stream": stream}
        for user in [taken, other] * 9:
            made.gateway.request("POST", CHAT, json.dumps({**fields, "user": user}).encode())
        assert made.figure("canary_active", FRESH, "chat") == 1

        def asked_again() -> bool:
            for user in (taken, other):
                made.gateway.request("POST", CHAT, json.dumps({**fields, "user": user}).encode())
            return made.figure("canary_active", FRESH, "chat") == 0

        until(asked_again)
        assert made.answering("chat", user=taken) == STEADY


def test_what_clients_do_wrong_is_not_the_canarys_fault(server: Server, moods: Moods, tmp_path: Path) -> None:
    text = canary(max_error_rate=0)
    taken, _ = of_canary(text)
    with routed(server.grpc, tmp_path, text) as made:
        for _ in range(12):
            assert made.ask("chat", user=taken, temperature=9)[0] == 400
            assert made.ask("chat", user=taken, messages=[{"role": "user", "content": "x " * 1000}])[0] == 400
            with made.gateway.streaming(CHAT, model="chat", messages=HELLO, user=taken) as response:
                next(events(response))
        made.write(text + "# seen\n")
        assert made.figure("canary_active", FRESH, "chat") == 1
        assert made.answering("chat", user=taken) == FRESH


def test_a_canary_that_is_away_harms_nobody(
    server: Server, moods: Moods, triton: Client, tmp_path: Path
) -> None:
    text = canary(share=100)
    with routed(server.grpc, tmp_path, text) as made:
        assert made.answering("chat") == FRESH
        triton.call("grpc", "unload_model", FRESH)
        try:
            assert {made.answering("chat") for _ in range(5)} == {STEADY}
            until(lambda: FRESH not in made.models())
            assert made.answering("chat") == STEADY
        finally:
            triton.call("grpc", "load_model", FRESH)
        until(lambda: made.answering("chat") == FRESH)
        moods[FRESH] = FULL
        assert made.answering("chat") == STEADY


def test_a_triton_that_is_gone(tmp_path: Path) -> None:
    with routed("127.0.0.1:9", tmp_path, ROUTES) as made:
        status, error = made.gateway.refusal(CHAT, model="safe", messages=HELLO)
        assert (status, error["code"]) == (503, "unavailable")
        assert made.gateway.get("/v1/models")[0] == 503


@pytest.mark.slow
def test_real_models_by_other_names(real_server: Server, tmp_path: Path) -> None:
    text = '[routes.small]\nto = "smollm2"\n[routes.vector]\nto = "minilm"\n[routes.rank]\nto = "ranker"\n'
    with routed(real_server.grpc, tmp_path, text) as made:
        fields = {
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            "temperature": 0,
        }
        status, told = made.gateway.post(CHAT, model="small", **fields)
        assert (status, told["model"]) == (200, "smollm2")
        assert told["choices"][0]["message"]["content"] == "The capital of France is Paris."
        status, told = made.gateway.post("/v1/embeddings", model="vector", input="a bird")
        assert (status, told["model"], len(told["data"][0]["embedding"])) == (200, "minilm", 384)
        status, told = made.gateway.post("/v1/rerank", model="rank", query="a", documents=["a", "b"])
        assert (status, told["model"], len(told["results"])) == (200, "ranker", 2)
