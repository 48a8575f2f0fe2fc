"""The connection that streams come by, before a server that speaks HTTP/2 by h2, and no network between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest
from h2.settings import SettingCodes, Settings
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from builder.gateway.triton import failures, wire
from builder.gateway.triton.call import WINDOW
from builder.gateway.triton.connection import Connection
from builder.gateway.triton.failures import Failure, Kind
from builder.gateway.triton.hearing import Hearing
from builder.gateway.triton.wire import Wire

PATH = "/package.Service/Method"


class Heard:
    """A listener that keeps everything."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.ends: list[Failure | None] = []

    def heard(self, message: bytes) -> None:
        self.messages.append(message)

    def ended(self, failure: Failure | None) -> None:
        self.ends.append(failure)


class Server:
    """The other end, which is also the transport between."""

    def __init__(self, **settings: int) -> None:
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        told = {SettingCodes[name.upper()]: value for name, value in settings.items()}
        self.h2.local_settings = Settings(client=False, initial_values=told)
        self.events: list[Any] = []
        self.is_closed = False
        self.wire = Wire("triton:8001")
        self._sent = b""
        self.h2.initiate_connection()
        self.wire.connection_made(self)
        self.turn()

    def write(self, data: bytes) -> None:
        self._sent += data

    def abort(self) -> None:
        self.is_closed = True

    def turn(self, sizes: Iterator[int] | None = None) -> None:
        """Pass on what both have to say, to the wire in parts of some sizes, until both are silent."""
        while self._sent or (told := self.h2.data_to_send()):
            if self._sent:
                sent, self._sent = self._sent, b""
                self.events += self.h2.receive_data(sent)
                continue
            while told:
                size = next(sizes) if sizes else len(told)
                self.wire.data_received(told[:size])
                told = told[size:]

    def call(self, message: bytes = b"asked") -> tuple[Heard, Any, int]:
        """Begin a call; return what hears it, itself, and its number."""
        listener = Heard()
        begun = self.wire.call(PATH, message, listener)
        self.turn()
        return listener, begun, begun.number

    def answer(self, number: int) -> None:
        self.h2.send_headers(number, [(":status", "200"), ("content-type", "application/grpc")])

    def send(self, number: int, data: bytes, pad: int | None = None) -> None:
        """Send what goes into frames of the largest size."""
        for place in range(0, len(data), 2**13):
            self.h2.send_data(number, data[place : place + 2**13], pad_length=pad)

    def end(self, number: int, status: int = 0, text: str = "") -> None:
        trailers = [("grpc-status", str(status)), ("grpc-message", text)]
        self.h2.send_headers(number, trailers, end_stream=True)

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def framed(*messages: bytes) -> bytes:
    return b"".join(b"\0" + len(one).to_bytes(4, "big") + one for one in messages)


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    bounds = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


numbers = st.lists(st.integers(0, 2**16), max_size=8)


@given(
    st.lists(st.binary(max_size=300), max_size=12),
    numbers,
    st.lists(st.integers(1, 40), min_size=1),
    st.booleans(),
)
def test_messages_come_whole_however_frames_and_packets_are_cut(
    messages: list[bytes], places: list[int], sizes: list[int], padded: bool
) -> None:
    server = Server()
    heard, _, number = server.call()
    server.answer(number)
    for part in cut(framed(*messages), places):
        server.send(number, part, pad=3 if padded else None)
    server.end(number)
    server.turn(size for _ in iter(int, 1) for size in sizes)
    assert heard.messages == messages and heard.ends == [None]


def test_the_request_is_one_of_grpc() -> None:
    server = Server()
    server.call(b"asked")
    (request,) = server.told(h2.events.RequestReceived)
    headers = dict(request.headers)
    assert (headers[b":method"], headers[b":path"], headers[b"te"]) == (b"POST", PATH.encode(), b"trailers")
    assert b"".join(event.data for event in server.told(h2.events.DataReceived)) == framed(b"asked")
    assert len(server.told(h2.events.StreamEnded)) == 1


def test_a_request_beyond_the_servers_window_is_sent_as_it_opens() -> None:
    server = Server()
    asked = bytes(range(256)) * 2**12
    server.call(asked)
    received, taken = b"", 0
    while new := server.told(h2.events.DataReceived)[taken:]:
        for event in new:
            received += event.data
            server.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        taken += len(new)
        server.turn()
    assert received == framed(asked)


def test_calls_side_by_side_keep_their_answers_apart() -> None:
    server = Server()
    calls = [server.call() for _ in range(50)]
    for turn in range(3):
        for _, _, number in calls:
            if not turn:
                server.answer(number)
            server.send(number, framed(b"%d of %d" % (turn, number)))
    for _, _, number in calls:
        server.end(number)
    server.turn()
    for heard, _, number in calls:
        assert heard.messages == [b"%d of %d" % (turn, number) for turn in range(3)]
        assert heard.ends == [None]


def test_a_slow_taker_holds_up_its_own_answer_alone() -> None:
    server = Server()
    (heard, slow, number), (other, _, second) = server.call(), server.call()
    for one in (number, second):
        server.answer(one)
    message = framed(bytes(2**13 - 5))
    while server.h2.local_flow_control_window(number):
        server.send(number, message)
        server.turn()
    assert len(heard.messages) * len(message) == WINDOW
    server.send(second, message)
    server.turn()
    assert len(other.messages) == 1
    slow.go_on()
    server.turn()
    assert server.h2.local_flow_control_window(number) == WINDOW


@given(st.integers(0, WINDOW // 2 - 6), st.integers(1, 3 * WINDOW))
def test_a_message_of_any_size_comes_though_nobody_can_take_it_before(before: int, size: int) -> None:
    server = Server()
    heard, call, number = server.call()
    server.answer(number)
    server.send(number, framed(bytes(before)))
    server.turn()
    call.go_on()
    rest = framed(bytes(size))
    while rest:
        room = min(server.h2.local_flow_control_window(number), 2**13)
        assert room > 0, f"{len(rest)} of {size} bytes cannot be sent"
        server.send(number, rest[:room])
        rest = rest[room:]
        server.turn()
    assert [len(one) for one in heard.messages] == [before, size]


def test_the_windows_are_never_opened_too_far_or_shut() -> None:
    server = Server()
    heard, call, number = server.call()
    server.answer(number)
    messages = 5000
    # more than the step at which the common window is opened; h2 refuses a window beyond its largest
    for _ in range(messages):
        server.send(number, framed(bytes(8000)))
        server.turn()
        call.go_on()
        server.turn()
    assert len(heard.messages) == messages and messages * 8000 > 2 * wire._SHARED_STEP
    server.end(number)
    server.turn()
    assert heard.ends == [None]
    assert server.h2.outbound_flow_control_window > 2**30


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (3, "max_tokens is 0%2C 1 is the least", Kind.INVALID),
        (5, "no such thing", Kind.UNKNOWN_MODEL),
        (4, "", Kind.DEADLINE),
        (14, "Socket closed", Kind.UNAVAILABLE),
        (13, "unexpected", Kind.INTERNAL),
        (99, "unheard of", Kind.INTERNAL),
        (8, "Exceeds maximum queue size", Kind.OVERLOADED),
    ],
)
def test_a_status_is_told(status: int, text: str, kind: Kind) -> None:
    server = Server()
    heard, _, number = server.call()
    server.h2.send_headers(
        number,
        [(":status", "200"), ("grpc-status", str(status)), ("grpc-message", text)],
        end_stream=True,
    )
    server.turn()
    (failure,) = heard.ends
    assert failure is not None and failure.kind is kind
    assert "%2C" not in failure.text


@pytest.mark.parametrize("headers", [[(":status", "502")], [(":status", "200"), ("grpc-status", "no")]])
def test_an_end_that_is_none_of_grpc(headers: list[tuple[str, str]]) -> None:
    server = Server()
    heard, _, number = server.call()
    server.h2.send_headers(number, headers, end_stream=True)
    server.turn()
    (failure,) = heard.ends
    assert failure is not None and failure.is_triton_gone


@pytest.mark.parametrize(("answers", "text"), [(0, failures.LOST), (2, failures.CUT)])
@pytest.mark.parametrize("how", ["reset", "lost", "nonsense", "not http/2"])
def test_a_connection_that_breaks(how: str, answers: int, text: str) -> None:
    server = Server()
    heard, _, number = server.call()
    server.answer(number)
    server.send(number, framed(*[b"a"] * answers))
    server.turn()
    match how:
        case "reset":
            server.h2.reset_stream(number, h2.errors.ErrorCodes.INTERNAL_ERROR)
            server.turn()
        case "lost":
            server.wire.connection_lost(ConnectionResetError())
        case "nonsense":
            server.wire.data_received(bytes([0, 0, 1, 6, 0, 0, 0, 0, 0, 0]))  # a PING has 8 bytes
        case _:
            server.wire.data_received(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert heard.messages == [b"a"] * answers
    assert [(failure.kind, failure.text) for failure in heard.ends if failure] == [(Kind.UNAVAILABLE, text)]
    assert server.wire.is_open == (how == "reset")
    assert server.is_closed == (how in ("nonsense", "not http/2"))


def test_a_server_that_ends_finishes_what_it_has_begun() -> None:
    server = Server()
    (first, _, number), (second, _, later) = server.call(), server.call()
    server.answer(number)
    server.turn()
    goaway = (8).to_bytes(3, "big") + bytes([7, 0]) + bytes(4) + number.to_bytes(4, "big") + bytes(4)
    server.wire.data_received(goaway)
    assert not server.wire.is_open
    assert [failure.text for failure in second.ends if failure] == [failures.LOST] and later > number
    server.send(number, framed(b"to the end"))
    server.end(number)
    server.turn()
    assert (first.messages, first.ends) == ([b"to the end"], [None])


def test_a_call_that_is_cancelled_hears_nothing_more() -> None:
    server = Server()
    (heard, call, number), (other, _, second) = server.call(), server.call()
    server.answer(number)
    server.send(number, framed(b"under way already"))
    call.cancel()
    server.turn()
    assert [event.error_code for event in server.told(h2.events.StreamReset)] == [h2.errors.ErrorCodes.CANCEL]
    assert heard.messages == heard.ends == []
    call.cancel()
    server.answer(second)
    server.send(second, framed(b"unharmed"))
    server.end(second)
    server.turn()
    assert (other.messages, other.ends) == ([b"unharmed"], [None])


def test_an_answer_to_a_request_that_was_not_read() -> None:
    server = Server()
    heard, _, number = server.call(bytes(2**20))
    server.h2.send_headers(number, [(":status", "200"), ("grpc-status", "8")], end_stream=True)
    server.turn()
    assert len(heard.ends) == len(server.told(h2.events.StreamReset)) == 1


def test_more_calls_than_the_server_takes() -> None:
    server = Server(max_concurrent_streams=1)
    server.call()
    with pytest.raises(Failure) as caught:
        server.call()
    assert caught.value.kind is Kind.OVERLOADED


def test_a_response_that_cannot_be_read_is_its_own_requests_failure() -> None:
    said: list[Any] = []
    hearing = Hearing.__new__(Hearing)
    hearing._tell = said.append
    hearing.heard(b"\xff\xff")
    hearing.heard(b"")  # a response without outputs
    assert [failure.kind for failure in said] == [Kind.INTERNAL] * 2


def test_a_call_on_a_connection_that_was_lost_is_refused() -> None:
    server = Server()
    server.wire.connection_lost(None)
    with pytest.raises(Failure, match=failures.LOST):
        server.wire.call(PATH, b"", Heard())


def test_what_keeps_a_request_from_being_sent_is_told() -> None:
    class Broken:
        async def open(self) -> Wire:
            raise ValueError("broken")

    async def said() -> list[Any]:
        heard: list[Any] = []
        Hearing(Broken(), service_pb2.ModelInferRequest(), heard.append)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        return heard

    (failure,) = asyncio.run(said())
    assert (failure.kind, "ValueError broken" in failure.text) == (Kind.INTERNAL, True)


def test_many_who_wait_for_one_connection_try_once() -> None:
    async def tries() -> tuple[int, list[Any]]:
        connection = Connection("127.0.0.1:1")
        begun = []

        async def fail() -> Wire:
            begun.append(0)
            await asyncio.sleep(0.01)
            raise Failure(Kind.UNAVAILABLE, failures.LOST)

        connection._new_wire = fail  # type: ignore[method-assign]
        waiting = [asyncio.ensure_future(connection.open()) for _ in range(20)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        await connection.close()
        return len(begun), ends

    begun, (first, *others) = asyncio.run(tries())
    assert begun == 1 and isinstance(first, asyncio.CancelledError)
    assert all(isinstance(one, Failure) for one in others)
