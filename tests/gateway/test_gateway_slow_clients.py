"""Clients that send slowly, or nothing, or come in thousands: only they lose their connections."""

from __future__ import annotations

import json
import resource
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial

import gateway_process
import psutil
import pytest
from echoing_repository import ENDLESS, NAME
from gateway_process import Gateway, error_of
from processes import until
from raw_client import CHAT, answer, connected, files, head, is_closed, request, resident

from builder.server import Server

pytestmark = pytest.mark.triton
HELLO = {"model": NAME, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
FOREVER = {"model": NAME, "messages": [{"role": "user", "content": f"Go on {ENDLESS}"}]}
GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n"
LARGEST = 64 * 2**10


@pytest.fixture(scope="module")
def strict(echoing: Server) -> Iterator[Gateway]:
    """A gateway that waits a second for heads and bodies, and answers two at once."""
    words = ("--head-timeout", "1", "--body-timeout", "1", "--max-requests", "2", "--max-body", "1")
    with gateway_process.running(echoing.grpc, *words) as gateway:
        yield gateway


def refusal(opened: socket.socket) -> tuple[int, str | None]:
    status, _, body = answer(opened)
    return status, error_of(json.loads(body))["code"]


def drip(opened: socket.socket, data: bytes) -> None:
    """Send a byte now and then until the other side has enough of it."""
    opened.settimeout(0.1)
    for place in range(len(data)):
        with suppress(TimeoutError):
            if opened.recv(1, socket.MSG_PEEK) is not None:
                break
        opened.sendall(data[place : place + 1])
    opened.settimeout(30)


@pytest.mark.parametrize(
    "begun", [b"POST", GET, GET + b"X: ", GET + b"X: y\r\n", b"\r\n", b"GET /" + b"x" * 100], ids=range(6)
)
def test_a_head_that_does_not_end(begun: bytes, strict: Gateway) -> None:
    with connected(strict) as opened:
        opened.sendall(begun)
        assert refusal(opened) == (408, "timeout")
        assert is_closed(opened)


def test_a_head_that_comes_byte_by_byte(strict: Gateway) -> None:
    for endless in (GET + b"X: " + b"y" * 1000, b"\r\n" * 1000):
        with connected(strict) as opened:
            drip(opened, endless)
            assert refusal(opened) == (408, "timeout")
            assert is_closed(opened)


def test_a_later_head_that_does_not_end(strict: Gateway) -> None:
    with connected(strict) as opened:
        opened.sendall(GET + b"\r\n")
        assert answer(opened)[0] == 200
        opened.sendall(GET)
        assert refusal(opened) == (408, "timeout")
        assert is_closed(opened)


def test_a_connection_without_a_word(strict: Gateway) -> None:
    with connected(strict) as opened:
        assert is_closed(opened)


def test_a_connection_that_is_kept_for_later(strict: Gateway) -> None:
    with connected(strict) as opened:
        opened.sendall(GET + b"\r\n")
        assert answer(opened)[0] == 200
        assert is_closed(opened)


@pytest.mark.parametrize("lines", [("Content-Length: 1000",), ("Transfer-Encoding: chunked",)])
def test_a_body_that_does_not_end(lines: tuple[str, ...], strict: Gateway) -> None:
    with connected(strict) as opened:
        opened.sendall(head(CHAT, *lines))
        drip(opened, b'3e8\r\n{"model": "' + b"x" * 980)
        assert refusal(opened) == (408, "timeout")
        # what may still come of it is waited for as long as that, and no longer
        drip(opened, b"x" * 500)
        assert is_closed(opened)


def test_the_rest_of_a_body_that_was_refused_is_not_waited_for_for_ever(strict: Gateway) -> None:
    with connected(strict) as opened:
        opened.sendall(head(CHAT, f"Content-Length: {64 * 2**20}"))
        assert refusal(opened) == (413, "too_large")
        drip(opened, b"x" * 1000)
        assert is_closed(opened)


def test_who_still_sends_takes_no_place(echoing: Server) -> None:
    with gateway_process.running(echoing.grpc, "--max-requests", "2") as gateway, ExitStack() as stack:
        data = json.dumps(HELLO).encode()
        slow = [stack.enter_context(connected(gateway)) for _ in range(20)]
        for opened in slow:
            opened.sendall(head(CHAT, f"Content-Length: {len(data)}") + data[:-1])
        for _ in range(3):
            assert gateway.post(CHAT, **HELLO)[0] == 200
        # the places are for those whose bodies have come
        with gateway.streaming(CHAT, **FOREVER), gateway.streaming(CHAT, **FOREVER):
            slow[0].sendall(data[-1:])
            assert refusal(slow[0]) == (429, "overloaded")
        until(lambda: gateway.post(CHAT, **HELLO)[0] == 200)
        slow[1].sendall(data[-1:])
        assert answer(slow[1])[0] == 200


def test_what_all_together_have_sent_of_their_bodies_is_bounded(strict: Gateway) -> None:
    """Sixteen of the largest, which is 16 MiB here."""
    before = resident(strict.process.pid)
    with ExitStack() as stack:
        slow = [stack.enter_context(connected(strict)) for _ in range(40)]
        for opened in slow:
            opened.sendall(head(CHAT, f"Content-Length: {2**20}") + b" " * (2**20 - 1))
        codes = [refusal(opened) for opened in slow]
    assert set(codes) == {(429, "overloaded"), (408, "timeout")}
    assert codes.count((408, "timeout")) <= 16
    assert resident(strict.process.pid) < before + 40
    until(lambda: strict.post(CHAT, **HELLO)[0] == 200)


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("size", [LARGEST, 2**20, 2**25])
def test_heads_that_are_too_large(size: int, ends: bool, echo: Gateway) -> None:
    before = resident(echo.process.pid)
    line = b"X: " + b"y" * 1000 + b"\r\n"
    for lines in (line * (size // len(line) + 1), b"X: " + b"y" * size + b"\r\n"):
        with connected(echo) as opened:
            opened.sendall(GET + lines + (b"\r\n" if ends else b""))
            assert refusal(opened) == (431, "too_large")
            assert is_closed(opened)
    assert resident(echo.process.pid) < before + 8


def test_an_address_that_is_too_large(echo: Gateway) -> None:
    with connected(echo) as opened:
        opened.sendall(b"GET /" + b"x" * 2**20)
        assert refusal(opened) == (431, "too_large")


def test_the_largest_head(echo: Gateway) -> None:
    with connected(echo) as opened:
        opened.sendall(GET + b"X: " + b"y" * (LARGEST - 100) + b"\r\n\r\n")
        assert answer(opened)[0] == 200


def test_large_bodies_are_no_heads(echo: Gateway) -> None:
    body = {**HELLO, "metadata": {"note": "x" * 900_000}}
    with connected(echo) as opened:
        for _ in range(3):
            opened.sendall(request(body))
            assert answer(opened)[0] == 200


def test_more_connections_than_are_taken(echoing: Server) -> None:
    with gateway_process.running(echoing.grpc, "--max-connections", "20") as gateway:
        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(connected(gateway))
            with connected(gateway) as opened:
                assert refusal(opened) == (503, "too_many_connections")
                assert is_closed(opened)
        until(lambda: gateway.get("/v1/models")[0] == 200)


def test_no_files_are_left(echoing: Server) -> None:
    """A process that may open no more files neither ends nor turns around itself, and goes on afterwards."""
    with gateway_process.running(echoing.grpc) as gateway:
        process = psutil.Process(gateway.process.pid)
        gateway.post(CHAT, **HELLO)
        most = files(process.pid) + 20
        process.rlimit(psutil.RLIMIT_NOFILE, (most, most))
        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(connected(gateway))
            before = sum(process.cpu_times()[:2])
            with suppress(psutil.TimeoutExpired):
                process.wait(2)
            assert sum(process.cpu_times()[:2]) - before < 1
        until(lambda: answers(gateway))


def answers(gateway: Gateway) -> bool:
    try:
        return gateway.post(CHAT, **HELLO)[0] == 200
    except OSError:
        return False


def test_the_limit_of_files_is_raised_and_bounds_connections(echoing: Server) -> None:
    soft, hard = 80, 130
    before = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    with gateway_process.running(echoing.grpc, before=before) as gateway:
        process = psutil.Process(gateway.process.pid)
        assert process.rlimit(psutil.RLIMIT_NOFILE) == (hard, hard)
        with ExitStack() as stack:
            for _ in range(30):
                stack.enter_context(connected(gateway))
            with connected(gateway) as opened:
                assert refusal(opened) == (503, "too_many_connections")
        until(lambda: answers(gateway))


WORDS = (b"", GET, GET + b"\r\n", request(HELLO), request({**FOREVER, "stream": True}))


def is_answered(gateway: Gateway) -> bool:
    """Say whether a chat is answered; what it is told instead is shown with a failure."""
    status, told = gateway.post(CHAT, **HELLO)
    print(status, told)
    return status == 200


@pytest.mark.parametrize("word", WORDS, ids=range(len(WORDS)))
@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_connections_that_are_dropped(word: bytes, count: int, echo: Gateway) -> None:
    """Ten thousand and more in all; what each began ends with it."""
    pid = echo.process.pid

    def come_and_go() -> None:
        with ExitStack() as stack:
            for number in range(min(count, 500)):
                opened = stack.enter_context(connected(echo))
                opened.sendall(word)
                if number % 2:  # a reset in the place of a proper end
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    come_and_go()
    until(lambda: files(pid) < 60)
    opened_before, before = files(pid), resident(pid)
    for _ in range(max(1, count // 500)):
        come_and_go()
    until(lambda: files(pid) <= opened_before)
    assert resident(pid) < before + 24
    until(lambda: is_answered(echo))


@pytest.mark.slow
def test_a_client_that_takes_nothing_of_its_answers(echo: Gateway) -> None:
    """It loses its connection after a minute, and what was written for it is no more."""
    before = files(echo.process.pid)
    with connected(echo) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.settimeout(5)
        with pytest.raises(TimeoutError):
            while True:
                opened.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        assert files(echo.process.pid) == before + 1
        for _ in range(3):
            with suppress(AssertionError):
                until(lambda: files(echo.process.pid) <= before)
                break
    assert files(echo.process.pid) <= before


def test_two_thousand_at_once(echo: Gateway) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2500:
        pytest.skip(f"this user may open {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2500), hard))
    before = files(echo.process.pid)
    with ExitStack() as stack:
        opened = [stack.enter_context(connected(echo)) for _ in range(2000)]
        assert echo.post(CHAT, **HELLO)[0] == 200
        for one in opened[::100]:
            one.sendall(GET + b"\r\n")
            assert answer(one)[0] == 200
    until(lambda: files(echo.process.pid) <= before)
    assert echo.post(CHAT, **HELLO)[0] == 200
