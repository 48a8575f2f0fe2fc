"""Streams: requests that run while the caller decides whether to go on listening."""

from __future__ import annotations

import http.client
import json
import queue
from collections.abc import Iterator
from typing import Any, Self

from builder.triton_client.answer import Reply, Silence, TritonError

_FINAL = "triton_final_response"


def _string(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


class GrpcStream:
    """One bidirectional stream; many requests may run on it, told apart by their ids."""

    def __init__(self, url: str, patience: float) -> None:
        from tritonclient.grpc import InferenceServerClient

        self._patience = patience
        self._events: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._client = InferenceServerClient(url)
        # Triton would add its status codes for the header triton_grpc_error, and crash before 26.04
        self._client.start_stream(lambda result, error: self._events.put((result, error)))
        self._ended = False

    def send(self, model: str, tensors: list[Any], **options: Any) -> None:
        """Send one request; `options` are those of tritonclient's async_stream_infer."""
        self._client.async_stream_infer(model, tensors, enable_empty_final_response=True, **options)

    def receive(self, patience: float | None = None) -> tuple[str, Reply | None, bool]:
        """Return the next message: request id, reply, final. Raises TritonError, Silence without one."""
        wait = self._patience if patience is None else patience
        try:
            result, error = self._events.get(timeout=wait)
        except queue.Empty:
            raise Silence(f"no response within {wait:g} s") from None
        if error is not None:
            raise TritonError(str(error.message()), error.status())
        return self._read(result)

    def waiting(self) -> bool:
        """Return whether a message has arrived that nobody has received yet."""
        return not self._events.empty()

    @staticmethod
    def _read(result: Any) -> tuple[str, Reply | None, bool]:
        response = result.get_response()
        final = _FINAL in response.parameters and response.parameters[_FINAL].bool_param
        if not response.outputs:
            return response.id, None, final
        outputs = {
            tensor.name: [_string(value) for value in result.as_numpy(tensor.name).reshape(-1).tolist()]
            for tensor in response.outputs
        }
        return response.id, Reply(outputs), final

    def finish(self) -> None:
        """Close the stream after the last response, as a satisfied client does."""
        self._client.stop_stream()

    def cancel(self) -> None:
        """Cancel every request of the stream, as a client that walks away does."""
        self._client.stop_stream(cancel_requests=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # a graceful stop would wait for requests that a broken server may never end
        self._client.stop_stream(cancel_requests=True)
        self._client.close()


class HttpStream:
    """A running `generate` or `generate_stream` call, whose connection can be dropped at any moment."""

    def __init__(self, address: str, path: str, body: bytes, patience: float) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=patience)
        self._connection.request("POST", path, body, {"Content-Type": "application/json"})
        self._response = self._connection.getresponse()
        self.status = self._response.status

    def body(self) -> bytes:
        return self._response.read()

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield each server-sent event's JSON; plain JSON errors are yielded alike."""
        for line in self._response:
            text = line.strip()
            if text.startswith(b"data:"):
                text = text[5:]
            if text:
                yield json.loads(text)

    def arrived(self) -> list[dict[str, Any]]:
        """Return the events that have arrived but were not read yet; the stream is of no use afterwards."""
        found: list[dict[str, Any]] = []
        if self._connection.sock is not None:
            self._connection.sock.settimeout(0.001)
            try:
                found.extend(self.events())
            except (OSError, http.client.HTTPException, ValueError):
                pass  # nothing more, or half an event
        return found

    def close(self) -> None:
        self._response.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
