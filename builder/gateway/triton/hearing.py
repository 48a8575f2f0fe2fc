"""Responses of the front as small values: only what was asked for is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2

from builder.gateway.triton import failures
from builder.gateway.triton.call import Call
from builder.gateway.triton.connection import Connection
from builder.gateway.triton.failures import Failure, Kind

TEXT = ("text_output", "finish_reason")
COUNTS = ("num_input_tokens", "num_output_tokens")
SEQUENCE = ("sequence_index",)
REASONING = ("reasoning_output",)
LOG_PROBS = ("output_ids", "output_log_probs")
TOPS = ("output_top_ids", "output_top_log_probs")
"""What to ask the front for, by what a Piece of it tells."""
_PATH = "/inference.GRPCInferenceService/ModelStreamInfer"


class Piece(NamedTuple):
    """What one response says of one sequence; what was not asked for is 0, empty or None.

    `reason` is "" until the sequence's last. `tops` are ids INT32 [tokens, k] and their log probabilities.
    """

    text: str
    reason: str
    sequence: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    ids: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()
    tops: tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]] | None = None
    reasoning: str = ""


Said = Piece | Failure | None
"""What a hearing tells: a piece, that it failed, or that it ended well. The last two are its last."""


class Hearing:
    """One request to the front under way; it tells what it hears as it comes."""

    def __init__(self, connection: Connection, request: Any, tell: Callable[[Said], object]) -> None:
        """Ask; `tell` is called from the event loop, never from here."""
        self._tell = tell
        self._call: Call | None = None
        self._beginning = asyncio.create_task(self._begin(connection, request.SerializeToString()))

    def heard(self, message: bytes) -> None:
        """Tell what a ModelStreamInferResponse says."""
        try:
            told = service_pb2.ModelStreamInferResponse.FromString(message)
            said = failures.of_text(told.error_message) if told.error_message else read(told.infer_response)
        except Exception as error:  # it must not end the other calls of the wire
            said = Failure(Kind.INTERNAL, f"a response that cannot be read: {type(error).__name__} {error}")
        self._tell(said)

    def ended(self, failure: Failure | None) -> None:
        """Tell the end."""
        self._tell(failure)

    def go_on(self) -> None:
        """Have as much again sent as was taken."""
        if self._call is not None:
            self._call.go_on()

    def cancel(self) -> None:
        """Stop it on the server, and tell nothing more; of no effect once it has ended."""
        self._beginning.cancel()
        if self._call is not None:
            self._call.cancel()

    async def _begin(self, connection: Connection, request: bytes) -> None:
        try:
            wire = await connection.open()
            self._call = wire.call(_PATH, request, self)
        except Failure as failure:
            self._tell(failure)
        except Exception as error:  # whoever listens must not wait for ever
            self._tell(Failure(Kind.INTERNAL, f"the request cannot be sent: {type(error).__name__} {error}"))


def read(response: Any) -> Piece:
    """Return what a ModelInferResponse of the front says."""
    raw = {
        output.name: data for output, data in zip(response.outputs, response.raw_output_contents, strict=True)
    }
    text, reason = raw["text_output"][4:].decode(), raw["finish_reason"][4:].decode()
    sequence = _integer(raw.get("sequence_index"))
    prompt, answer = _integer(raw.get("num_input_tokens")), _integer(raw.get("num_output_tokens"))
    thought = raw.get("reasoning_output", b"")[4:].decode()
    if "output_ids" not in raw:
        return Piece(text, reason, sequence, prompt, answer, reasoning=thought)
    return Piece(
        text,
        reason,
        sequence,
        prompt,
        answer,
        tuple(np.frombuffer(raw["output_ids"], "<i4").tolist()),
        tuple(np.frombuffer(raw.get("output_log_probs", b""), "<f4").tolist()),
        _tops(response, raw) if "output_top_ids" in raw else None,
        thought,
    )


def _integer(data: bytes | None) -> int:
    return int.from_bytes(data, "little", signed=True) if data else 0


def _tops(response: Any, raw: dict[str, bytes]) -> tuple[Any, Any]:
    shape = next(tuple(output.shape) for output in response.outputs if output.name == "output_top_ids")[1:]
    return (
        np.frombuffer(raw["output_top_ids"], "<i4").reshape(shape),
        np.frombuffer(raw["output_top_log_probs"], "<f4").reshape(shape),
    )


async def infer(connection: Connection, request: Any) -> dict[str, Any]:
    """Ask a model that gives one response; return its outputs as numpy arrays, texts as lists.

    Raises Failure.
    """
    import grpc

    try:
        response = await connection.stub.ModelInfer(request)
    except grpc.aio.AioRpcError as error:
        raise failures.of_call(error) from error
    return {
        output.name: _array(output, data)
        for output, data in zip(response.outputs, response.raw_output_contents, strict=True)
    }


_KINDS = {"INT32": "<i4", "FP32": "<f4"}


def _array(output: Any, data: bytes) -> Any:
    if output.datatype == "BYTES":
        return _texts(data)
    if output.datatype not in _KINDS:
        raise Failure(
            Kind.INTERNAL, f"'{output.name}' is {output.datatype}, INT32, FP32 or BYTES is expected"
        )
    return np.frombuffer(data, _KINDS[output.datatype]).reshape(tuple(output.shape))


def _texts(data: bytes) -> list[str]:
    found, place = [], 0
    while place < len(data):
        end = place + 4 + int.from_bytes(data[place : place + 4], "little")
        found.append(data[place + 4 : end].decode("utf-8", "replace"))
        place = end
    return found
