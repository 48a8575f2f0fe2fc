"""Client: the calls verify makes to a running Triton, over gRPC, KServe's HTTP, and plain HTTP."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from builder.triton_client.answer import Answer, Silence, TritonError, read_events
from builder.triton_client.streams import GrpcStream, HttpStream

_WIRE_NAMES = {"TYPE_STRING": "BYTES"}


@dataclass(frozen=True)
class Raw:
    """A tensor sent exactly as it stands, whatever the model's config says."""

    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Any]


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
                stream.finish()
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
            return read_events(call.status, [json.loads(call.body() or b"{}")])

    def generate_stream(self, model: str, fields: Mapping[str, Any] | bytes) -> Answer:
        """Ask over HTTP for server-sent events."""
        with self.open_http(model, fields, "generate_stream") as call:
            return read_events(call.status, list(call.events()))

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

    def alive(self, over: str = "http", patience: float = 5.0) -> bool:
        """Return whether the server answers its liveness probe, over http or grpc."""
        try:
            if over == "grpc":
                return bool(self.call("grpc", "is_server_live", client_timeout=patience))
            return self.get(self.http, "/v2/health/live", patience)[0] == 200
        except (OSError, http.client.HTTPException, TritonError):
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

    def until(self, holds: Callable[[], bool], seconds: float, every: float = 0.03) -> bool:
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
