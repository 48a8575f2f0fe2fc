"""A connection for calls whose answers stream: gRPC on HTTP/2, messages taken from the socket as they come.

grpc.aio takes more processor time for a message than all else that becomes of a token here. So frames that
hold messages are read in place, and everything else of HTTP/2 is h2's. Frames: RFC 9113, 4.1 and 6.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import WindowUpdateFrame

from builder.gateway.triton import failures
from builder.gateway.triton.call import WINDOW, Call, Listener
from builder.gateway.triton.failures import Failure, Kind
from builder.gateway.triton.pacing import Pace

_LARGEST_WINDOW = 2**31 - 1
_SHARED_STEP = 2**24
"""Bytes of all answers after which their common window is opened again: it never holds one of them up."""
_FRAME_HEADER = 9
_DATA, _GOAWAY = 0, 7
_LARGEST_FRAME = 2**14
_LAST_ID = 2**31 - 3
_SETTINGS = {
    h2.settings.SettingCodes.ENABLE_PUSH: 0,
    h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
    h2.settings.SettingCodes.MAX_FRAME_SIZE: _LARGEST_FRAME,
}


class Wire(asyncio.Protocol):
    """One connection, with its calls side by side."""

    def __init__(self, authority: str) -> None:
        self._authority = authority
        self._calls: dict[int, Call] = {}
        self._blocked: list[Call] = []
        self._rest = b""
        self._shared = 0
        self._is_leaving = False
        self._transport: Any = None
        self._pace: Pace | None = None
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.local_settings = h2.settings.Settings(initial_values=_SETTINGS)

    @property
    def is_open(self) -> bool:
        """Say whether another call may be made."""
        return (
            self._transport is not None
            and not self._is_leaving
            and self._h2.highest_outbound_stream_id < _LAST_ID
        )

    def call(self, path: str, message: bytes, listener: Listener) -> Call:
        """Begin a call with the one message that it sends. Raises Failure."""
        if not self.is_open:
            raise Failure(Kind.UNAVAILABLE, failures.LOST)
        number = self._h2.get_next_available_stream_id()
        try:
            self._h2.send_headers(number, self._headers(path))
        except h2.exceptions.TooManyStreamsError as error:
            raise Failure(Kind.OVERLOADED, "no more calls are taken: try again later") from error
        body = b"\0" + len(message).to_bytes(4, "big") + message
        call = self._calls[number] = Call(self, number, body, listener)
        self._send(call)
        self._flush()
        return call

    def cancel(self, call: Call) -> None:
        """Stop a call on the server; of no effect once it has ended."""
        if self._calls.pop(call.number, None) is not None:
            self._reset(call)
            self._flush()

    def widen(self, number: int, size: int) -> None:
        """Let the server send so many bytes more of a call, of all calls for 0."""
        if (number == 0 or number in self._calls) and self._transport is not None:
            self._transport.write(WindowUpdateFrame(number, window_increment=size).serialize())

    def close(self) -> None:
        """Let the connection go; calls under way end as lost."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        self._end_all(list(self._calls.values()))

    def connection_made(self, transport: Any) -> None:
        """Say how much may be sent at once."""
        self._transport, self._pace = transport, Pace(transport)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_LARGEST_WINDOW - self._h2.inbound_flow_control_window)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all calls."""
        self._transport = None
        self._end_all(list(self._calls.values()))

    def data_received(self, data: bytes) -> None:
        """Take messages out of frames that hold nothing else, and leave other frames to h2."""
        if self._rest:
            data = self._rest + data
        place, length = 0, len(data)
        while length - place >= _FRAME_HEADER:
            start = place + _FRAME_HEADER
            size = int.from_bytes(data[place : place + 3], "big")
            if size > _LARGEST_FRAME:
                self.close()
                return
            after = start + size
            if after > length:
                break
            call = self._calls.get(int.from_bytes(data[place + 5 : start], "big"))
            # no flags: neither padded nor the last
            if call is not None and data[place + 3] == _DATA and not data[place + 4]:
                self._shared += size
                call.untold += size
                call.take(data[start:after])
            elif data[place + 3] == _GOAWAY:
                self._leave(data[start:after])
            else:
                self._hand_over(data[place:after])
            place = after
        self._rest = data[place:]
        if self._shared >= _SHARED_STEP:
            self.widen(0, self._shared)
            self._shared = 0
        if self._pace is not None:
            self._pace.keep(len(self._calls))

    def _headers(self, path: str) -> list[tuple[str, str]]:
        return [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", self._authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]

    def _send(self, call: Call) -> None:
        """Send what the server lets be sent of a message."""
        while call.unsent:
            room = min(self._h2.local_flow_control_window(call.number), self._h2.max_outbound_frame_size)
            if room <= 0:
                self._blocked.append(call)
                return
            part, call.unsent = call.unsent[:room], call.unsent[room:]
            self._h2.send_data(call.number, bytes(part), end_stream=not call.unsent)

    def _hand_over(self, frame: bytes) -> None:
        try:
            for event in self._h2.receive_data(frame):
                self._act(event)
        except h2.exceptions.ProtocolError:
            self.close()
            return
        self._flush()

    def _act(self, event: Any) -> None:
        match event:
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                blocked, self._blocked = self._blocked, []
                for call in blocked:
                    if call.number in self._calls:
                        self._send(call)
            case h2.events.DataReceived():
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if event.stream_id in self._calls:
                    self._calls[event.stream_id].take(event.data)
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                if event.stream_id in self._calls:
                    self._calls[event.stream_id].headers = {
                        str(name): str(value) for name, value in event.headers
                    }
            case h2.events.StreamEnded():
                self._end(event.stream_id)
            case h2.events.StreamReset():
                self._end_all([self._calls[number] for number in (event.stream_id,) if number in self._calls])

    def _leave(self, told: bytes) -> None:
        """Make no more calls, as the server ends; it finishes those up to a number.

        h2 takes a GOAWAY for the end of all calls, so that it is not told.
        """
        self._is_leaving = True
        last = int.from_bytes(told[:4], "big") & _LARGEST_WINDOW
        self._end_all([call for call in self._calls.values() if call.number > last])

    def _end(self, number: int) -> None:
        call = self._calls.pop(number, None)
        if call is None:
            return
        if call.unsent:
            self._reset(call)  # it was answered without being read
        call.listener.ended(call.ended())

    def _end_all(self, calls: list[Call]) -> None:
        for call in calls:
            self._calls.pop(call.number, None)
            call.listener.ended(call.lost())

    def _reset(self, call: Call) -> None:
        self._h2.reset_stream(call.number, h2.errors.ErrorCodes.CANCEL)

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)
