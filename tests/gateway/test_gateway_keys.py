"""A gateway that asks for keys, as its clients and those who attack it see it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import echoing_repository
import gateway_process
import pytest
from echoing_repository import ENDLESS, NAME
from gateway_process import JSON, ROOT, Gateway, error_of, events
from guarded_gateway import CHAT, HELLO, Guarded, bearer
from processes import until

from builder import serve
from builder.gateway.app import ENDPOINTS
from builder.gateway.keys import clerk, database, ledger, times
from builder.server import Server

pytestmark = pytest.mark.triton
FOREVER = [{"role": "user", "content": f"Go on {ENDLESS}"}]
EXCEEDED = "timeout graceful shutdown exceeded"


PATHS = [(method, path) for method, path, *_ in ENDPOINTS if path != "/health"]
OTHERS = (
    "/pages",
    "/page",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/nowhere",
    "/health/",
    "//health",
    "/health/x",
    "/HEALTH",
    "/metrics",
)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *PATHS,
        *(("GET", path) for path in OTHERS),
        ("POST", "/nowhere"),
        ("POST", "/"),
        ("OPTIONS", CHAT),
        ("DELETE", CHAT),
    ],
)
def test_nothing_answers_without_a_key(method: str, path: str, guarded: Guarded) -> None:
    for headers in (
        JSON,
        bearer("none"),
        {**JSON, "Authorization": "Basic dTpw"},
        {**JSON, "Authorization": ""},
    ):
        status, told, body = guarded.gateway.request(method, path, b"{}", headers)
        assert (status, told["www-authenticate"]) == (401, "Bearer")
        assert error_of(json.loads(body))["type"] == "invalid_request_error"


def test_health_answers_everybody(guarded: Guarded) -> None:
    assert guarded.gateway.get("/health") == (200, {"status": "ok"})


def test_the_page_s_files_answer_everybody_and_tell_nothing(guarded: Guarded) -> None:
    """A browser must have them before it can send a key; they are the same with one."""
    key = guarded.key("browser")
    for path in ("/", "/page/index.html"):
        status, headers, body = guarded.gateway.request("GET", path, None, {})
        assert status == 200 and headers["content-type"].startswith("text/html")
        assert guarded.gateway.request("GET", path, None, bearer(key))[2] == body
    # out of its folder there is no way
    for path in (
        "/page/../v1/models",
        "/page/..%2f..%2fguard.py",
        "/page//v1/models",
        "/page/%2e%2e/serving.py",
    ):
        assert guarded.gateway.request("GET", path, None, {})[0] in (401, 404)


def test_a_key_is_all_that_is_needed(guarded: Guarded) -> None:
    key = guarded.key("plain")
    for path in ("/v1/models", "/openapi.json", "/docs"):
        assert guarded.gateway.request("GET", path, None, bearer(key))[0] == 200
    assert guarded.gateway.request("GET", "/nowhere", None, bearer(key))[0] == 404
    assert guarded.rows("plain") == []
    status, headers, told = guarded.ask(key)
    assert status == 200 and re.fullmatch("[0-9a-f]{32}", headers["x-request-id"])
    tokens = (told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"])
    assert min(tokens) > 0
    # prompt 1, completion 2 for a million tokens
    assert guarded.rows("plain") == [(NAME, *tokens, tokens[0] + 2 * tokens[1], 200)]
    assert guarded.ask(key, model="nothing")[0] == 404
    assert guarded.ask(key, temperature="hot")[0] == 400
    assert [(row[0], row[-1]) for row in guarded.rows("plain")[1:]] == [("", 404), (NAME, 400)]


def test_the_official_client(guarded: Guarded) -> None:
    import openai

    with openai.OpenAI(base_url=guarded.gateway.url, api_key=guarded.key("sdk"), max_retries=0) as client:
        stream = client.chat.completions.create(model=NAME, messages=HELLO, stream=True)  # type: ignore[call-overload]
        assert [chunk.choices[0].finish_reason for chunk in stream][-1] == "stop"
    # the client asked for no usage, and it is counted all the same
    ((model, prompt, completion, _, status),) = guarded.rows("sdk")
    assert (model, status) == (NAME, 200) and prompt > 0 and completion > 0
    with (
        openai.OpenAI(base_url=guarded.gateway.url, api_key="sk-wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_the_row_is_there_when_the_end_is(guarded: Guarded) -> None:
    """Whoever has read [DONE] finds the row, in the same tokens that a client is told."""
    key = guarded.key("ends")
    for _ in range(5):
        before = len(guarded.rows("ends"))
        fields = {"model": NAME, "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
        status, _, body = guarded.gateway.request("POST", CHAT, json.dumps(fields).encode(), bearer(key))
        rows = guarded.rows("ends")
        assert status == 200 and len(rows) == before + 1
        *_, last, done, _ = body.split(b"\n\n")
        usage = json.loads(last.removeprefix(b"data: "))["usage"]
        assert done == b"data: [DONE]"
        assert rows[-1][1:3] == (usage["prompt_tokens"], usage["completion_tokens"])


def test_a_stream_that_is_broken_off_is_counted(guarded: Guarded) -> None:
    key = guarded.key("leaves")
    body = json.dumps({"model": NAME, "messages": FOREVER, "stream": True}).encode()
    host, _, port = guarded.gateway.address.rpartition(":")
    with socket.create_connection((host, int(port))) as client:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        heard = b""
        while heard.count(b"data: ") < 20:
            heard += client.recv(4096)
    until(lambda: bool(guarded.rows("leaves")))
    ((model, prompt, completion, cost, status),) = guarded.rows("leaves")
    # one chunk tells the role
    assert (model, status) == (NAME, 499) and completion >= 19
    assert cost == prompt + 2 * completion


def test_models_that_a_key_may_not_see_do_not_exist(guarded: Guarded) -> None:
    blind, seeing = (
        guarded.key("blind", models=frozenset(["other"])),
        guarded.key("seeing", models=frozenset([NAME])),
    )
    for path, fields in (
        (CHAT, {}),
        ("/v1/completions", {"messages": None, "prompt": "x"}),
        ("/v1/embeddings", {"messages": None, "input": "x"}),
        ("/tokenize", {"messages": None, "prompt": "x"}),
        ("/detokenize", {"messages": None, "tokens": [1]}),
    ):
        hidden = guarded.ask(blind, path, **fields)
        absent = guarded.ask(seeing, path, **fields, model="other")
        assert (hidden[0], absent[0]) == (404, 404)
        assert json.dumps(hidden[2]).replace(NAME, "other") == json.dumps(absent[2])
    names = [NAME, f"{NAME}_tokenizer"]
    for name in names:
        assert guarded.gateway.request("GET", f"/v1/models/{name}", None, bearer(blind))[0] == 404
    listed = [guarded.gateway.request("GET", "/v1/models", None, bearer(key))[2] for key in (blind, seeing)]
    assert [[one["id"] for one in json.loads(told)["data"]] for told in listed] == [[], [NAME]]
    assert guarded.ask(seeing)[0] == 200
    assert guarded.ask(seeing, "/tokenize", messages=None, prompt="x")[0] == 200


def test_requests_beyond_the_limit_of_two_workers_at_once(guarded: Guarded) -> None:
    key = guarded.key("busy", requests_per_minute=5)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: guarded.ask(key), range(12)))
    admitted = [headers for status, headers, _ in answers if status == 200]
    refused = [(headers, error_of(told)) for status, headers, told in answers if status == 429]
    # one comes back every twelve seconds
    assert 5 <= len(admitted) <= 6 and len(admitted) + len(refused) == 12
    assert {headers["x-ratelimit-limit-requests"] for headers in admitted} == {"5"}
    assert {"4", "0"} <= {headers["x-ratelimit-remaining-requests"] for headers in admitted}
    for headers, error in refused:
        assert 1 <= int(headers["retry-after"]) <= 12
        assert re.fullmatch(r"\d+ms|(\d+m)?\d+s", headers["x-ratelimit-reset-requests"])
        assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert len(guarded.rows("busy")) == len(admitted)
    assert guarded.gateway.request("GET", "/v1/models", None, bearer(key))[0] == 200


def test_tokens_beyond_the_limit(guarded: Guarded) -> None:
    key = guarded.key("wordy", tokens_per_minute=1)
    status, headers, _ = guarded.ask(key)
    assert (status, headers["x-ratelimit-remaining-tokens"]) == (200, "1")
    status, headers, told = guarded.ask(key)
    assert (status, error_of(told)["type"], error_of(told)["code"]) == (429, "tokens", "rate_limit_exceeded")
    (row,) = guarded.rows("wordy")
    # what it took beyond its one token is waited for as well
    assert 60 * (sum(row[1:3]) - 1) <= int(headers["retry-after"]) <= 60 * sum(row[1:3])


def test_a_budget_that_is_spent(guarded: Guarded) -> None:
    key = guarded.key("poor", monthly_budget=1)
    assert guarded.ask(key)[0] == 200
    status, headers, told = guarded.ask(key)
    assert (status, error_of(told)["type"], error_of(told)["code"]) == (
        429,
        "insufficient_quota",
        "insufficient_quota",
    )
    assert headers["x-should-retry"] == "false" and "retry-after" not in headers
    assert len(guarded.rows("poor")) == 1


def test_revoked_and_expired_keys(guarded: Guarded) -> None:
    key = guarded.key("leaver")
    assert guarded.ask(key)[0] == 200
    with closing(database.connect(str(guarded.path))) as opened:
        ledger.revoke(opened, "leaver", clerk.clock())
    status, _, told = guarded.ask(key)
    assert (status, error_of(told)["code"]) == (401, "invalid_api_key") and "revoked" in told["error"][
        "message"
    ]
    status, _, told = guarded.ask(guarded.key("late", expires=clerk.clock()))
    assert (status, error_of(told)["code"]) == (401, "invalid_api_key") and "expired" in told["error"][
        "message"
    ]


def test_figures_of_all_models_are_for_keys_of_all_models(guarded: Guarded) -> None:
    some, every = guarded.key("some", models=frozenset({"smollm2"})), guarded.key("every")
    status, _, body = guarded.gateway.request("GET", "/metrics", None, bearer(some))
    error = error_of(json.loads(body))
    assert (status, error["code"]) == (403, "insufficient_permissions") and "--models" in error["message"]
    assert guarded.gateway.request("GET", "/metrics", None, bearer(every))[0] == 200


def test_keys_that_are_guessed_are_counted(guarded: Guarded) -> None:
    key = guarded.key("guessed")
    prefix, secret = key[:-64], key[-64:]
    month = times.month(clerk.clock())

    def counted() -> int:
        with closing(database.connect(str(guarded.path))) as opened:
            return ledger.refusals(opened, month)

    before = counted()
    guesses = [
        prefix + secret[:place] + ("1" if secret[place] == "0" else "0") + secret[place + 1 :]
        for place in range(64)
    ]
    with ThreadPoolExecutor(8) as pool:
        assert {one[0] for one in pool.map(guarded.ask, guesses)} == {401}
    until(lambda: counted() == before + 64)
    assert guarded.ask(key)[0] == 200


@pytest.mark.parametrize(
    "attack",
    [
        "' OR '1'='1", "x'; DROP TABLE keys; --", "bk_%' OR 1=1 --", "k" * 8000, "%0d%0aX-Injected: 1",
        "\u00e9\u00ff", "bk_000000000000_" + "0" * 64, "bk_000000000000_" + "0" * 63, "",
    ],
)  # fmt: skip
def test_what_is_no_key_opens_nothing(attack: str, guarded: Guarded) -> None:
    status, headers, body = guarded.gateway.request("GET", "/v1/models", None, bearer(attack))
    assert status == 401 and "x-injected" not in headers
    assert attack == "" or attack.encode() not in body


def raw(gateway: Gateway, request: bytes) -> bytes:
    host, _, port = gateway.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        client.sendall(request)
        return client.recv(65536)


def test_headers_by_hand(guarded: Guarded) -> None:
    key = guarded.key("hands")
    right = f"Authorization: Bearer {key}\r\n"
    get = "GET /v1/models HTTP/1.1\r\nHost: x\r\n"
    assert raw(guarded.gateway, f"{get}{right}\r\n".encode()).startswith(b"HTTP/1.1 200")
    assert raw(guarded.gateway, f"{get}AUTHORIZATION:  bearer {key} \r\n\r\n".encode()).startswith(
        b"HTTP/1.1 200"
    )
    for headers in (right + right, right + "Authorization: Bearer x\r\n", f"Authorization: {key}\r\n"):
        assert raw(guarded.gateway, f"{get}{headers}\r\n".encode()).startswith(b"HTTP/1.1 401")
    # an absolute address, and one with a fragment, are /health to nobody who checks only their end
    for path in ("/v1/models?/health", "/v1/models#/health", "/health/../v1/models", "http://x/v1/models"):
        assert raw(guarded.gateway, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).startswith(
            b"HTTP/1.1 4"
        )
    long = f"{get}Authorization: Bearer {'k' * 2**20}\r\n\r\n"
    assert raw(guarded.gateway, long.encode())[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 401", b"HTTP/1.1 431")


@pytest.mark.parametrize("name", ["key", "api_key", "access_token", "x"])
def test_a_key_in_the_address_is_refused(name: str, guarded: Guarded) -> None:
    key = guarded.key(f"address.{name}")
    for headers in (JSON, bearer(key)):
        status, _, body = guarded.gateway.request(
            "GET", f"/v1/models?{name}={key.replace('_', '%5F')}", None, headers
        )
        assert (status, "revoke it" in error_of(json.loads(body))["message"]) == (401, True)
        assert key.encode() not in body
        assert guarded.gateway.request("GET", f"/v1/models/{key}", None, headers)[0] == 401


def test_a_gateway_that_is_killed_keeps_what_it_acknowledged(echoing: Server, tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    with closing(database.connect(str(path), creating=True)) as opened:
        database.prepare(opened)
    with gateway_process.running(echoing.grpc, "--keys", str(path)) as gateway:
        guarded = Guarded(gateway, path)
        key = guarded.key("killed")
        acknowledged = 0

        def ask(_: int) -> int:
            try:
                return guarded.ask(key)[0]
            except (OSError, http.client.HTTPException):
                return 0

        with ThreadPoolExecutor(8) as pool:
            for status in (answers := pool.map(ask, range(200))):
                acknowledged += status == 200
                if acknowledged == 40:
                    os.kill(gateway.process.pid, signal.SIGKILL)
                    break
            acknowledged += sum(status == 200 for status in answers)
        assert 40 <= acknowledged < 200
        assert len(guarded.rows("killed")) >= acknowledged


def test_accounts_in_postgresql(echoing: Server, postgres: str) -> None:
    import psycopg

    with closing(database.connect(postgres)) as opened:
        database.prepare(opened)
    with gateway_process.running(echoing.grpc, "--keys", postgres, "--workers", "2") as gateway:
        guarded = Guarded(gateway, postgres)
        key = guarded.key(f"far.{os.getpid()}", requests_per_minute=4)
        with ThreadPoolExecutor(8) as pool:
            answers = [status for status, *_ in pool.map(lambda _: guarded.ask(key), range(8))]
        assert (answers.count(200), answers.count(429)) in ((4, 4), (5, 3))
        assert len(guarded.rows(f"far.{os.getpid()}")) == answers.count(200)
        other = guarded.key(f"near.{os.getpid()}")
        with psycopg.connect(postgres, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            )
        # the workers' connections are gone, and nobody notices
        assert {guarded.ask(other)[0] for _ in range(8)} == {200}


def test_accounts_that_cannot_be_written_are_said(echoing: Server, tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    with closing(database.connect(str(path), creating=True)) as opened:
        database.prepare(opened)
    said = "the database of keys: no such table: requests\n" * 2
    with gateway_process.running(echoing.grpc, "--keys", str(path), last_words=said) as gateway:
        guarded = Guarded(gateway, path)
        key = guarded.key("unlucky")
        with closing(database.connect(str(path))) as opened:
            opened.change("DROP TABLE requests")
        status, headers, told = guarded.ask(key)
        assert (status, error_of(told)["code"], headers["retry-after"]) == (503, "unavailable", "1")
        fields = {"model": NAME, "messages": HELLO, "stream": True}
        _, _, body = gateway.request("POST", CHAT, json.dumps(fields).encode(), bearer(key))
        assert b"[DONE]" not in body
        assert error_of(json.loads(body.split(b"\n\n")[-2].removeprefix(b"data: ")))["code"] == "unavailable"


def test_a_stream_that_the_gateways_end_breaks_is_a_row_of_its_error(tmp_path: Path) -> None:
    """Other ends that break one, such as Triton's, come the same way."""
    path = tmp_path / "keys.db"
    with closing(database.connect(str(path), creating=True)) as opened:
        database.prepare(opened)
    repository = echoing_repository.write(tmp_path / "repository", step_seconds=0.05)
    words = ("--keys", str(path), "--exit-timeout", "1")
    with (
        serve.boot(repository) as server,
        gateway_process.running(server.grpc, *words, last_words=EXCEEDED) as gateway,
    ):
        guarded = Guarded(gateway, path)
        key = guarded.key("cut")
        connection = http.client.HTTPConnection(gateway.address, timeout=60)
        body = json.dumps({"model": NAME, "messages": FOREVER, "stream": True})
        connection.request("POST", CHAT, body, bearer(key))
        heard = events(connection.getresponse())
        for _ in range(3):
            assert next(heard)["choices"]
        gateway.process.send_signal(signal.SIGTERM)
        *_, last = heard
        assert error_of(last)["code"] == "unavailable"
        connection.close()
        gateway.process.wait(60)
    ((_, _, completion, _, status),) = guarded.rows("cut")
    assert status == 503 and completion >= 2


def test_the_command(tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "builder", "keys", *words], cwd=tmp_path, capture_output=True, text=True,
            check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    made = run("create", "alice", "--models", "a,b", "--monthly-budget", "2.50", "--expires", "2030-01-01")
    assert made.returncode == 0, made.stderr
    text = made.stdout.strip()
    assert re.fullmatch("bk_[0-9a-f]{12}_[0-9a-f]{64}", text)
    for file in tmp_path.iterdir():
        assert text.encode() not in file.read_bytes() and text[-64:].encode() not in file.read_bytes()
    (listed,) = json.loads(run("list", "--json").stdout)
    assert listed["id"] == text[:15] and listed["models"] == ["a", "b"]
    assert (listed["monthly_budget"], listed["expires"], listed["state"]) == (
        "2.50",
        "2030-01-01T00:00:00Z",
        "active",
    )
    assert text not in run("list").stdout
    again = run("create", "alice")
    assert (again.returncode, "'alice' already" in again.stderr) == (1, True)
    file = tmp_path / "bob.key"
    made = run("create", "bob", "--output", "bob.key")
    assert (made.returncode, made.stdout, stat.S_IMODE(file.stat().st_mode)) == (0, "", 0o600)
    assert re.fullmatch("bk_[0-9a-f]{12}_[0-9a-f]{64}\n", file.read_text())
    assert run("create", "carol", "--output", "bob.key").returncode == 1
    assert run("create", "bob", "--output", "second.key").returncode == 1
    assert not (tmp_path / "second.key").exists() and len(json.loads(run("list", "--json").stdout)) == 2
    assert json.loads(run("usage", "--json", "--month", "2026-11").stdout)["usage"] == []
    assert run("revoke", text).stdout == f"revoked {text[:15]} (alice)\n"
    assert run("usage", "--month", "november").returncode == 2
    for words in (
        ("a\nb",),
        ("x", "--monthly-budget", "-1"),
        ("x", "--models", "a,"),
        ("x", "--tokens-per-minute", "0"),
        ("x", "--expires", "2020-01-01"),
    ):
        assert run("create", *words).returncode == 2
