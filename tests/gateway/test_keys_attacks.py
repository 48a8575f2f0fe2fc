"""Who has no key, and who has one and wants more than it gives: every address, every method, every field."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from echoing_repository import ENDLESS, NAME
from fastapi.routing import APIRoute
from gateway_process import JSON, error_of, events
from guarded_gateway import CHAT, Guarded, bearer
from processes import until
from raw_client import connected
from starlette.routing import BaseRoute, Mount, Route

from builder.gateway import app
from builder.gateway.door import Settings
from builder.gateway.keys import clerk, database, ledger
from builder.gateway.page import serving as page

pytestmark = pytest.mark.triton
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
LONG = [{"role": "user", "content": f"Go on {ENDLESS}"}]
OPEN = {"/", "/health"}
"""And all beneath /page/: the page's files."""


def routes() -> list[str]:
    """Return the addresses of all that the application answers, whoever added them."""
    found: list[str] = []

    def look(one: BaseRoute) -> None:
        if isinstance(one, Mount):
            # its files are for everybody, see below
            assert one.path == page.PATH_OF_FILES
        elif isinstance(one, Route | APIRoute):
            found.append(one.path.replace("{model}", NAME))
        else:
            raise AssertionError(f"{one} is looked at by nobody")

    for one in app.create(Settings("127.0.0.1:1")).routes:
        look(one)
    return sorted(set(found) - OPEN)


def spellings(path: str) -> list[str]:
    """Return what some router might take for an address."""
    first, rest = path[1], path[2:]
    return [
        path,
        f"{path}/",
        f"/{path}",
        f"/.{path}",
        f"/health/..{path}",
        f"/health/%2e%2e{path}",
        f"/page{path}/../..{path}".replace("/page", "/pagE"),
        f"/%{ord(first):02x}{rest}",
        f"/%25{ord(first):02x}{rest}",
        path.replace("/", "%2f"),
        f"{path}?/health",
        f"{path}#/health",
        f"{path};/health",
        f"http://x{path}",
        f"http://x/health{path}",
        f"//health{path}",
        f"/health%00{path}",
        f"/health%0a{path}",
        f"\\health{path}",
        path.upper() if path.upper() != path else f"{path}x",
    ]


def status_of(guarded: Guarded, method: str, target: str, *lines: str) -> int:
    head = "\r\n".join([f"{method} {target} HTTP/1.1", "Host: x", *lines, "Content-Length: 0", "", ""])
    with connected(guarded.gateway) as opened:
        opened.sendall(head.encode("latin-1"))
        return int(opened.recv(65536).split()[1])


def test_there_are_as_many_routes_as_are_known() -> None:
    assert {path.replace("{model}", NAME) for _, path, *_ in app.ENDPOINTS} - OPEN < set(routes())
    assert {"/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"} < set(routes())


@pytest.mark.parametrize("path", routes())
def test_no_address_answers_without_a_key(path: str, guarded: Guarded) -> None:
    with ThreadPoolExecutor(4) as pool:
        asked = [("GET", one) for one in spellings(path)] + [(method, path) for method in METHODS]
        found = list(pool.map(lambda one: (one, status_of(guarded, *one)), asked))
    # 400 is for what is no address at all
    assert [(asked, status) for asked, status in found if status not in (400, 401)] == []
    assert dict(found)["GET", path] == 401


@pytest.mark.parametrize(
    "line",
    [
        "X-Forwarded-For: 127.0.0.1",
        "X-Original-URL: /health",
        "X-Rewrite-URL: /health",
        "X-HTTP-Method-Override: GET",
        "Authorization: Basic Og==",
        "Authorization: Bearer",
        "Authorization: Bearer ",
        "Authorization: Bearer null",
        "Authorization: Bearer undefined",
        "Authorization: Bearer\tx",
        "Proxy-Authorization: Bearer x",
        "Api-Key: x",
        "X-Api-Key: x",
        "Cookie: authorization=x",
        "Upgrade: websocket",
    ],
)
def test_no_header_opens_anything(line: str, guarded: Guarded) -> None:
    key = guarded.key(f"header.{clerk.clock()}")
    for told in (line, line.replace(" x", f" {key}").replace("=x", f"={key}")):
        expected = (200, 401) if told.startswith("Authorization: Bearer\t") else (401,)
        assert status_of(guarded, "GET", "/v1/models", told) in expected


def test_the_page_s_files_are_read_and_nothing_else_of_them(guarded: Guarded) -> None:
    for method in set(METHODS) - {"GET", "HEAD"}:
        assert status_of(guarded, method, "/page/index.html") == 401
        assert status_of(guarded, method, "/") == 401
    for path in (
        "/page/../guard.py",
        "/page/%2e%2e/%2e%2e/guard.py",
        "/page/..%5c..%5cguard.py",
        "/page//etc/passwd",
    ):
        assert status_of(guarded, "GET", path) in (400, 401, 404)


STATEMENTS = (
    "x'; DROP TABLE keys; --",
    '" OR ""="',
    "x' UNION SELECT secret FROM keys --",
    "%' OR 1=1 --",
    "\0",
)
LINES = (
    "a\r\nX-Injected: 1",
    "a\nSet-Cookie: x=1",
    "a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "a%0d%0aX-Injected:1",
)


@pytest.mark.parametrize("text", [*STATEMENTS, *LINES])
@pytest.mark.parametrize("field", ["model", "user", "metadata", "stop", "nothing"])
def test_statements_and_lines_in_fields_are_text(field: str, text: str, guarded: Guarded) -> None:
    key = guarded.key(f"inject.{clerk.clock()}")
    status, headers, told = guarded.ask(key, **{field: {"a": text} if field == "metadata" else text})
    assert status == {"model": 404, "nothing": 400}.get(field, 200), told
    assert not {"x-injected", "set-cookie"} & set(headers)
    # the books are as they were, and hold what was asked as it is
    name = NAME if status == 200 or field == "nothing" else ""
    with closing(database.connect(str(guarded.path))) as opened:
        rows = opened.rows("SELECT model, status FROM requests WHERE id = ?", (headers["x-request-id"],))
    assert rows == [(name, status)]


@pytest.mark.parametrize("text", [*STATEMENTS, *LINES])
def test_statements_and_lines_in_addresses_are_text(text: str, guarded: Guarded) -> None:
    from urllib.parse import quote

    key = guarded.key(f"address.{clerk.clock()}")
    status, headers, body = guarded.gateway.request(
        "GET", f"/v1/models/{quote(text, safe='')}", None, bearer(key)
    )
    assert status == 404 and error_of(json.loads(body))
    assert not {"x-injected", "set-cookie"} & set(headers)


def test_who_guesses_locks_nobody_out(guarded: Guarded) -> None:
    """Keys of nobody, and the right id with a wrong secret, from many at once."""
    key = guarded.key("owner")
    wrong = [
        key[:-1] + ("0" if key[-1] != "0" else "1"),
        f"bk_{'0' * 12}_{'0' * 64}",
        "x",
        key[:15],
        key + "0",
    ]
    with ThreadPoolExecutor(8) as pool:
        guesses = [pool.submit(guarded.ask, one) for one in wrong * 40]
        for _ in range(5):
            assert guarded.ask(key)[0] == 200
        answers = {(one.result()[0], error_of(one.result()[2])["code"]) for one in guesses}
    # neither the status nor the words tell a right id from a wrong one
    assert answers == {(401, "invalid_api_key")}
    texts = {json.dumps(guarded.ask(one)[2]) for one in wrong}
    assert len(texts) == 1
    assert [row[-1] for row in guarded.rows("owner")] == [200] * 5


def streamed(guarded: Guarded, key: str) -> Any:
    """Begin a stream that goes on for a while, and return its connection."""
    import http.client

    connection = http.client.HTTPConnection(guarded.gateway.address, timeout=60)
    body = json.dumps({"model": NAME, "messages": LONG, "stream": True})
    connection.request("POST", CHAT, body, bearer(key))
    return connection


def test_a_budget_that_is_spent_in_the_middle(guarded: Guarded) -> None:
    """The stream goes on to its end and is accounted for; what comes after it is refused."""
    key = guarded.key("spender", monthly_budget=1)
    connection = streamed(guarded, key)
    heard = events(connection.getresponse())
    assert next(heard)["choices"]
    assert guarded.ask(key)[0] == 200
    status, _, told = guarded.ask(key)
    assert (status, error_of(told)["code"]) == (429, "insufficient_quota")
    assert list(heard)[-1] == "[DONE]"
    connection.close()
    assert guarded.ask(key)[0] == 429
    rows = guarded.rows("spender")
    assert [row[-1] for row in rows] == [200, 200] and all(row[3] > 0 for row in rows)


@pytest.mark.parametrize("how", ["expires", "revoked"])
def test_a_key_that_ends_in_the_middle(how: str, guarded: Guarded) -> None:
    seconds = 2
    key = guarded.key(how, expires=clerk.clock() + seconds * 1_000_000 if how == "expires" else None)
    connection = streamed(guarded, key)
    heard = events(connection.getresponse())
    assert next(heard)["choices"]
    if how == "revoked":
        with closing(database.connect(str(guarded.path))) as opened:
            ledger.revoke(opened, how, clerk.clock())
    until(lambda: guarded.ask(key)[0] == 401)
    assert list(heard)[-1] == "[DONE]"
    connection.close()
    for path in ("/v1/models", "/metrics", "/openapi.json"):
        assert guarded.gateway.request("GET", path, None, bearer(key))[0] == 401


def test_a_key_of_nobody_takes_as_long_as_one_of_somebody() -> None:
    """Both come to the same comparison, which looks at all of a hash (hmac.compare_digest)."""
    import ast
    import inspect

    from builder.gateway.keys import secret

    tree = ast.parse(inspect.getsource(secret.is_it))
    called = [
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    compared = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    assert called == ["compare_digest"] and all(isinstance(node.ops[0], ast.IsNot) for node in compared)


def test_a_door_s_own_errors_ask_for_a_key_in_openai_s_shape(guarded: Guarded) -> None:
    for path in ("/api/chat", "/api/generate", "/generate", "/generate_stream"):
        status, headers, body = guarded.gateway.request("POST", path, b"{}", JSON)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert error_of(json.loads(body))["type"] == "invalid_request_error"


def test_bodies_of_those_without_a_key_are_not_waited_for(guarded: Guarded) -> None:
    with connected(guarded.gateway) as opened:
        opened.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n".encode())
        assert opened.recv(65536).startswith(b"HTTP/1.1 401")
