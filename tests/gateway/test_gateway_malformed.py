"""What is no request, or hardly one: refused in OpenAI's shape, and nobody else notices."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from echoing_repository import NAME
from gateway_process import Gateway, error_of
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_client import CHAT, answer, connected, head, is_closed, request, resident

pytestmark = pytest.mark.triton
HELLO = {"model": NAME, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
GOOD = request(HELLO)
GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n"


def refusal(opened: socket.socket) -> tuple[int, dict[str, Any]]:
    status, headers, body = answer(opened)
    assert headers["content-type"] == "application/json"
    return status, error_of(json.loads(body))


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
        b"\0" * 100,
        b"\xff\xfe\xfd\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/ models HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHo st: x\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: x\0y\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\n Host: x\r\n\r\n",
        head(CHAT, "Content-Length: -1"),
        head(CHAT, "Content-Length: 1e3"),
        head(CHAT, "Content-Length: 99999999999999999999999"),
        head(CHAT, "Content-Length: 5", "Content-Length: 6") + b"hello",
        head(CHAT, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head(CHAT, "Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
        head(CHAT, "Transfer-Encoding: gzip") + b"hello",
        head(CHAT, "Transfer-Encoding: chunked") + b"zz\r\n",
        head(CHAT, "Transfer-Encoding: chunked") + b"ffffffffffffffffff\r\n",
    ],
)
def test_what_is_no_http(data: bytes, echo: Gateway) -> None:
    with connected(echo) as opened:
        opened.sendall(data)
        status, error = refusal(opened)
        assert (400 <= status < 500, error["type"]) == (True, "invalid_request_error")
        assert is_closed(opened)


def test_any_bytes(echo: Gateway) -> None:
    lines = st.sampled_from(
        [b"GET ", b"POST ", b" HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n\r\n", b"/health", b"/%ff"]
    )
    fields = st.sampled_from(
        [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Upgrade: h2c\r\n"]
    )

    @settings(max_examples=200)
    @given(st.lists(lines | fields | st.binary(max_size=8), max_size=10).map(b"".join))
    def is_answered_or_closed(data: bytes) -> None:
        with connected(echo) as opened:
            opened.sendall(data)
            opened.shutdown(socket.SHUT_WR)
            heard = b"".join(iter(lambda: opened.recv(65536), b""))
        assert b" 500 " not in heard and b"Internal Server Error" not in heard

    is_answered_or_closed()
    assert echo.get("/health")[0] == 200


@pytest.mark.parametrize(
    "target",
    ["/%ff", "/v1/models/%ff", "/v1/models/%00", "/v1/models/%ed%a0%80", "/v1/models/a%0d%0aX-Bad:%201",
     "/%zz", "/v1/models?\xff", "http://x:y/v1", "/v1/models/" + "x" * 10_000, "/a?" + "b" * 10_000],
)  # fmt: skip
def test_addresses(target: str, echo: Gateway) -> None:
    with connected(echo) as opened:
        opened.sendall(head(target, method="GET"))
        status, headers, body = answer(opened)
        assert "x-bad" not in headers
        if status == 200:  # a query that nobody looks at
            assert target.startswith("/v1/models?")
        else:
            assert status in (400, 404) and error_of(json.loads(body))


@pytest.mark.parametrize(
    "name", ["X", "Authorization", "Timeout", "Host", "Content-Type", "Accept", "Expect"]
)
def test_bytes_in_headers(name: str, echo: Gateway) -> None:
    for value in (b"\xff\xfe", b"\xc3\xa9", b"\xed\xa0\x80", b"a" * 20_000):
        told = b"".join(
            line + b"\r\n"
            for line in GOOD.partition(b"\r\n\r\n")[0].split(b"\r\n")
            if not line.startswith(name.encode())
        )
        with connected(echo) as opened:
            opened.sendall(
                told + name.encode() + b": " + value + b"\r\n\r\n" + GOOD.partition(b"\r\n\r\n")[2]
            )
            status, _, body = answer(opened)
            assert status == 200 or (status in (400, 415) and error_of(json.loads(body)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"model": "\xc3\x28"}', "not valid UTF-8"),
        (b'\xff\xfe{\0}\0', "not valid UTF-8"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        ("{}".encode("utf-32"), "not valid"),
        (b'{"seed": NaN}', "NaN is no number"),
        (b'{"temperature": 1e400}', "model"),
        (b'{"seed": ' + b"9" * 100_000 + b"}", "not valid JSON"),
        (b'{"seed": -' + b"9" * 4000 + b"}", "model"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"messages": "' + b"\\u0000" * 1000 + b'"}', "model"),
        (b'{"model": "\0"}', "not valid JSON"),
        (b'{"a": 1, "a": 1}', "'a' is given twice"),
        (b'{"\\ud800": 1, "\\ud800": 1}', "given twice"),
        (b"{}{}", "not valid JSON"),
        (b"{'model': 1}", "not valid JSON"),
        (b'{"model": 01}', "not valid JSON"),
        (b'{"model": "a" // b\n}', "not valid JSON"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings", "/v1/responses", "/rerank", "/tokenize"])
def test_bodies_that_are_no_json(data: bytes, said: str, path: str, echo: Gateway) -> None:
    with connected(echo) as opened:
        opened.sendall(head(path, f"Content-Length: {len(data)}") + data)
        status, error = refusal(opened)
        assert (status, said in error["message"]) == (400, True), error
        # the same connection goes on
        opened.sendall(GET + b"\r\n")
        assert answer(opened)[0] == 200


@pytest.mark.parametrize(
    "text", ["\0", "a\0b", "\u2028", "\ufeff", "\U0010ffff", "\ufffe", "\u202e", "\x1b[2J"]
)
def test_odd_characters_come_back(text: str, echo: Gateway) -> None:
    status, told = echo.post(CHAT, model=NAME, messages=[{"role": "user", "content": text + " hello"}])
    assert status == 200 and "hello" in told["choices"][0]["message"]["content"]


@pytest.mark.parametrize("where", ["content", "name", "tool_call_id"])
def test_half_a_character_anywhere(where: str, echo: Gateway) -> None:
    message = {"role": "user", "content": "a"} | {where: "\ud800"}
    status, error = echo.refusal(CHAT, model=NAME, messages=[message])
    assert (status, error["param"]) == (400, "messages")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip"])
def test_bodies_that_are_packed(coding: str, echo: Gateway) -> None:
    data = gzip.compress(json.dumps(HELLO).encode())
    with connected(echo) as opened:
        opened.sendall(head(CHAT, f"Content-Encoding: {coding}", f"Content-Length: {len(data)}") + data)
        status, error = refusal(opened)
        assert (status, "content-encoding" in error["message"]) == (415, True)


def chunked(size: int) -> bytes:
    return b"%x\r\n%s\r\n" % (size, b"a" * size)


def told_length(opened: socket.socket, size: int) -> None:
    opened.sendall(head(CHAT, f"Content-Length: {size}"))
    for _ in range(size // 2**16):
        opened.sendall(b" " * 2**16)


def told_nothing(opened: socket.socket, size: int) -> None:
    opened.sendall(head(CHAT, "Transfer-Encoding: chunked"))
    for _ in range(size // 2**16):
        opened.sendall(chunked(2**16))
    opened.sendall(b"0\r\n\r\n")


@pytest.mark.parametrize("send", [told_length, told_nothing])
def test_bodies_of_64_mib(send: Callable[[socket.socket, int], None], echo: Gateway) -> None:
    """They are refused at the first MiB, which is all that is taken, and heard by a client that sends on."""
    echo.post(CHAT, **HELLO)
    before = resident(echo.process.pid)
    for _ in range(4):
        with connected(echo) as opened:
            send(opened, 64 * 2**20)
            status, error = refusal(opened)
            assert (status, error["code"]) == (413, "too_large")
    assert resident(echo.process.pid) < before + 8


def test_a_body_that_is_too_large_is_not_waited_for(echo: Gateway) -> None:
    with connected(echo) as opened:
        opened.sendall(head(CHAT, f"Content-Length: {64 * 2**20}"))
        assert refusal(opened)[0] == 413


def test_clients_that_ask_before_they_send(echo: Gateway) -> None:
    data = json.dumps(HELLO).encode()
    with connected(echo) as opened:
        opened.sendall(head(CHAT, "Expect: 100-continue", f"Content-Length: {len(data)}"))
        assert answer(opened)[0] == 100
        opened.sendall(data)
        assert answer(opened)[0] == 200
    for lines in ((f"Content-Length: {64 * 2**20}",), ("Content-Length: 9", "Content-Encoding: gzip")):
        with connected(echo) as opened:
            opened.sendall(head(CHAT, "Expect: 100-continue", *lines))
            assert refusal(opened)[0] in (413, 415)


@pytest.mark.parametrize("sent", [0, 1, 30])
def test_clients_that_leave_in_the_middle_of_a_body(sent: int, echo: Gateway) -> None:
    data = json.dumps(HELLO).encode()
    for _ in range(20):
        with connected(echo) as opened:
            opened.sendall(head(CHAT, f"Content-Length: {len(data)}") + data[:sent])
    with connected(echo) as opened:
        opened.sendall(head(CHAT, f"Content-Length: {len(data)}") + data[:sent])
        opened.shutdown(socket.SHUT_WR)
        heard = b"".join(iter(lambda: opened.recv(65536), b""))
    assert not heard
    assert echo.post(CHAT, **HELLO)[0] == 200


def test_a_length_that_is_too_small_makes_the_rest_another_request(echo: Gateway) -> None:
    data = json.dumps(HELLO).encode()
    with connected(echo) as opened:
        opened.sendall(head(CHAT, f"Content-Length: {len(data) - 1}") + data)
        assert refusal(opened)[0] == 400
        assert is_closed(opened)


def test_requests_one_behind_the_other(echo: Gateway) -> None:
    with connected(echo) as opened:
        opened.sendall(GOOD + GET + b"\r\n" + GOOD)
        heard = b""
        while heard.count(b"HTTP/1.1 200 OK") < 3 or not heard.endswith(b"}"):
            heard += opened.recv(65536)
    assert heard.count(b'"finish_reason"') == 2


def test_a_large_body_before_the_beginning_of_another_request(echo: Gateway) -> None:
    """What came in one piece with its end is not taken for the head of the next one."""
    large = request({**HELLO, "metadata": {"note": "x" * 150_000}})
    with connected(echo) as opened:
        for _ in range(5):
            opened.sendall(large + GET)
            assert answer(opened)[0] == 200
            opened.sendall(b"\r\n")
            assert answer(opened)[0] == 200


def test_what_stands_behind_a_stream_does_not_stand_in_it(echo: Gateway) -> None:
    with connected(echo) as opened:
        opened.sendall(request({**HELLO, "stream": True, "max_tokens": 50}) + b"\0\0 no request\r\n\r\n")
        heard = b"".join(iter(lambda: opened.recv(65536), b""))
    assert heard.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "TLS/1.3"])
def test_upgrades_are_not_taken(upgrade: str, echo: Gateway) -> None:
    lines = ("Connection: Upgrade", f"Upgrade: {upgrade}")
    with connected(echo) as opened:
        opened.sendall(head("/v1/models", *lines, method="GET"))
        assert answer(opened)[0] == 200
    data = json.dumps(HELLO).encode()
    with connected(echo) as opened:
        opened.sendall(head(CHAT, *lines, f"Content-Length: {len(data)}") + data)
        assert answer(opened)[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_methods_that_are_not_there(method: str, echo: Gateway) -> None:
    with connected(echo) as opened:
        opened.sendall(head(CHAT, method=method))
        status, headers, body = answer_without_body(opened) if method == "HEAD" else answer(opened)
        assert (status, headers["allow"]) == (405, "POST")
        if method != "HEAD":
            assert error_of(json.loads(body))


def answer_without_body(opened: socket.socket) -> tuple[int, dict[str, str], bytes]:
    told = opened.recv(65536).decode()
    assert told.endswith("\r\n\r\n")
    first, *lines = told.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, b""
