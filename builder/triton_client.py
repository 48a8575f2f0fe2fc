"""Client: the calls verify makes to a running Triton, over gRPC, KServe's HTTP, and plain HTTP.

tritonclient.http has no call for `generate` and `generate_stream`, so these are spoken directly:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_generate.md
"""

from __future__ import annotations

import http.client
import json
import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

FINAL = "triton_final_response"
_WIRE_NAMES = {"TYPE_STRING": "BYTES"}


class TritonError(Exception):
    """What Triton answered instead of a result; `code` is the HTTP status or the gRPC status name."""

    def __init__(self, message: str, code: int | str | None = None) -> None:
        super().__init__(message)
        self.code = code


class Silence(TritonError):
    """Nothing came within the patience of the call."""


@dataclass(frozen=True)
class Raw:
    """A tensor sent exactly as it stands, whatever the model's config says."""

    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Any]


@dataclass(frozen=True)
class Reply:
    """One response of a stream: every output as a flat list."""

    outputs: Mapping[str, list[Any]]

    def one(self, name: str) -> Any:
        """Return the single value of an output; raise KeyError with what there is when it is absent."""
        values = self.outputs.get(name)
        if not values:
            raise KeyError(f"no value in output {name!r}; the response holds {sorted(self.outputs)}")
        return values[0]

    @property
    def text(self) -> str:
        return str(self.one("text_output"))

    @property
    def ids(self) -> list[int]:
        return [int(value) for value in self.outputs.get("output_ids", [])]

    @property
    def sequence(self) -> int:
        return int(self.one("sequence_index"))


@dataclass
class Answer:
    """All responses to one request, and the error that ended it, if one did."""

    replies: list[Reply] = field(default_factory=list)
    error: str | None = None
    code: int | str | None = None
    ended: bool = False
    """Whether the server marked the end: a final response over gRPC, the end of the body over HTTP."""

    def of(self, sequence: int = 0) -> list[Reply]:
        """Return the responses of one of the sequences asked for."""
        return [reply for reply in self.replies if reply.sequence == sequence]

    def text(self, sequence: int = 0) -> str:
        return "".join(reply.text for reply in self.of(sequence))

    def ids(self, sequence: int = 0) -> list[int]:
        return [token for reply in self.of(sequence) for token in reply.ids]

    def reasons(self, sequence: int = 0) -> list[str]:
        """Return `finish_reason` of every response; all but the last should be empty."""
        return [str(reply.one("finish_reason")) for reply in self.of(sequence)]

    def finish_reason(self, sequence: int = 0) -> str:
        reasons = self.reasons(sequence)
        return reasons[-1] if reasons else ""

    def last(self, name: str, sequence: int = 0) -> Any:
        return self.of(sequence)[-1].one(name)

    def values(self, name: str, sequence: int = 0) -> list[Any]:
        """Return an output of all responses, joined."""
        return [value for reply in self.of(sequence) for value in reply.outputs.get(name, [])]


def _string(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


class GrpcStream:
    """One bidirectional stream; many requests may run on it, told apart by their ids."""

    def __init__(self, url: str, patience: float) -> None:
        from tritonclient.grpc import InferenceServerClient

        self._patience = patience
        self._events: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._client = InferenceServerClient(url)
        self._client.start_stream(lambda result, error: self._events.put((result, error)))
        self._ended = False

    def send(self, model: str, tensors: list[Any], **options: Any) -> None:
        """Send one request; `options` are those of tritonclient's async_stream_infer."""
        self._client.async_stream_infer(model, tensors, enable_empty_final_response=True, **options)

    def receive(self, patience: float | None = None) -> tuple[str, Reply | None, bool]:
        """Return the next message as (request id, reply, final); raise TritonError, Silence after `patience` s."""
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
        final = FINAL in response.parameters and response.parameters[FINAL].bool_param
        if not response.outputs:
            return response.id, None, final
        outputs = {
            tensor.name: [_string(value) for value in result.as_numpy(tensor.name).reshape(-1).tolist()]
            for tensor in response.outputs
        }
        return response.id, Reply(outputs), final

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

    def close(self) -> None:
        self._response.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_json(fields: Mapping[str, Any]) -> Reply:
    """Turn generate's JSON, where a tensor of one element is a scalar, into a Reply."""
    return Reply(
        {
            name: list(value) if isinstance(value, list) else [value]
            for name, value in fields.items()
            if name not in ("model_name", "model_version", "id", "error")
        }
    )


class Client:
    """Where a server listens and what the configs say about its inputs.

    Args:
        http, grpc, metrics: "host:port"; metrics may be None.
        configs: the ModelConfig written for each model, for dtypes and batch dimensions.
        patience: seconds without a response after which a call gives up.
    """

    def __init__(
        self, http: str, grpc: str, metrics: str | None, configs: Mapping[str, Any], patience: float = 30.0
    ) -> None:
        self.http, self.grpc, self.metrics_address = http, grpc, metrics
        self.configs = configs
        self.patience = patience

    # -- requests ---------------------------------------------------------------------------------

    def tensors(self, module: Any, model: str, inputs: Mapping[str, Any]) -> list[Any]:
        """Build `module`'s InferInput (tritonclient.grpc or .http) for each named value."""
        made = []
        for name, value in inputs.items():
            raw = value if isinstance(value, Raw) else self._raw(model, name, value)
            kind = np.object_ if raw.datatype == "BYTES" else _numpy_type(raw.datatype)
            tensor = module.InferInput(name, list(raw.shape), raw.datatype)
            made.append(tensor.set_data_from_numpy(np.array(raw.values, dtype=kind).reshape(raw.shape)))
        return made

    def _raw(self, model: str, name: str, value: Any) -> Raw:
        from tritonclient.grpc import model_config_pb2

        config = self.configs[model]
        declared = {tensor.name: tensor for tensor in config.input}[name]
        kind = model_config_pb2.DataType.Name(declared.data_type)
        values = list(value) if isinstance(value, list | tuple) else [value]
        if kind == "TYPE_STRING":
            values = [item.encode() if isinstance(item, str) else item for item in values]
        shape = (1, len(values)) if config.max_batch_size > 0 else (len(values),)
        return Raw(_WIRE_NAMES.get(kind, kind.removeprefix("TYPE_")), shape, values)

    def open(self) -> GrpcStream:
        """Open a gRPC stream for `request`."""
        return GrpcStream(self.grpc, self.patience)

    def request(self, stream: GrpcStream, model: str, inputs: Mapping[str, Any], **options: Any) -> None:
        """Send one request over an open stream; options: request_id, timeout (microseconds), parameters."""
        import tritonclient.grpc as module

        stream.send(model, self.tensors(module, model, inputs), **options)

    def stream(self, model: str, inputs: Mapping[str, Any], **options: Any) -> Answer:
        """Ask over a gRPC stream of its own and wait for the end."""
        answer = Answer()
        with self.open() as stream:
            try:
                self.request(stream, model, inputs, **options)
                while not answer.ended:
                    _, reply, answer.ended = stream.receive()
                    if reply is not None:
                        answer.replies.append(reply)
            except Silence:
                raise
            except TritonError as error:
                answer.error, answer.code = str(error), error.code
        return answer

    def open_http(self, model: str, fields: Mapping[str, Any] | bytes, verb: str) -> HttpStream:
        """Start `generate` or `generate_stream`; bytes are sent as they stand."""
        body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
        try:
            return HttpStream(self.http, f"/v2/models/{model}/{verb}", body, self.patience)
        except TimeoutError:
            raise Silence(f"{verb} did not answer within {self.patience:g} s") from None

    def generate(self, model: str, fields: Mapping[str, Any] | bytes) -> Answer:
        """Ask over HTTP for one whole answer."""
        with self.open_http(model, fields, "generate") as call:
            return _answer(call.status, [json.loads(call.body() or b"{}")])

    def generate_stream(self, model: str, fields: Mapping[str, Any] | bytes) -> Answer:
        """Ask over HTTP for server-sent events."""
        with self.open_http(model, fields, "generate_stream") as call:
            return _answer(call.status, list(call.events()))

    def infer(self, model: str, inputs: Mapping[str, Any], *, over: str = "grpc") -> dict[str, Any]:
        """Ask a model that is not decoupled; returns its outputs as numpy arrays. Raises TritonError."""
        module, client = self._module(over)
        with client:
            try:
                result = client.infer(model, self.tensors(module, model, inputs))
            except module.InferenceServerException as error:
                raise TritonError(str(error.message()), error.status()) from error
            names = [output["name"] if over == "http" else output.name for output in _outputs(result)]
            return {name: result.as_numpy(name) for name in names}

    # -- the server itself ------------------------------------------------------------------------

    def _module(self, over: str) -> tuple[Any, Any]:
        if over == "http":
            import tritonclient.http as module

            wait = self.patience
            return module, module.InferenceServerClient(
                self.http, connection_timeout=wait, network_timeout=wait
            )
        import tritonclient.grpc as grpc_module

        return grpc_module, grpc_module.InferenceServerClient(self.grpc)

    def call(self, over: str, method: str, *arguments: Any, **options: Any) -> Any:
        """Call one method of tritonclient's `http` or `grpc` client. Raises TritonError."""
        module, client = self._module(over)
        if over == "grpc":
            options = {"client_timeout": self.patience, **options}
        with client:
            try:
                return getattr(client, method)(*arguments, **options)
            except module.InferenceServerException as error:
                raise TritonError(str(error.message()), error.status()) from error

    def get(self, address: str, path: str, patience: float | None = None) -> tuple[int, bytes]:
        """Return status and body of a plain HTTP GET."""
        connection = http.client.HTTPConnection(address, timeout=patience or self.patience)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def alive(self, patience: float = 5.0) -> bool:
        """Return whether the server answers its liveness probe."""
        try:
            return self.get(self.http, "/v2/health/live", patience)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def metrics(self) -> dict[tuple[str, str], float]:
        """Return every sample of the metrics endpoint as {(family, labels): value}."""
        if self.metrics_address is None:
            raise TritonError("no metrics address was given")
        status, body = self.get(self.metrics_address, "/metrics")
        if status != 200:
            raise TritonError(f"the metrics endpoint answered {status}", status)
        samples = {}
        for line in body.decode().splitlines():
            if line and not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                family, _, labels = series.partition("{")
                samples[family, labels.rstrip("}")] = float(value)
        return samples

    def until(self, holds: Any, seconds: float, every: float = 0.03) -> bool:
        """Return whether `holds()` became true within `seconds`."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(every)
        return True


def _numpy_type(datatype: str) -> Any:
    return {"BOOL": np.bool_, "FP32": np.float32, "FP64": np.float64, "FP16": np.float16}.get(
        datatype
    ) or np.dtype(datatype.lower())


def _outputs(result: Any) -> list[Any]:
    response = result.get_response()
    return list(response["outputs"] if isinstance(response, dict) else response.outputs)


def _answer(status: int, events: list[dict[str, Any]]) -> Answer:
    answer = Answer(ended=True)
    for event in events:
        if "error" in event:
            answer.error, answer.code = str(event["error"]), status
        else:
            answer.replies.append(read_json(event))
    if status != 200 and answer.error is None:
        answer.error, answer.code = f"HTTP {status}", status
    return answer
