"""SinglePass: one served front that answers in one pass, as its folder describes it and as it answers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from builder import likeness
from builder.recorded import DOCUMENTS, QUERY, TEXT, Ask, Refusal, Row, read_recorded
from builder.subject import Mismatch, Skipped, expect, shortened
from builder.triton_client import Client, Raw, TritonError

_COUNTERS = (
    "nv_inference_request_success",
    "nv_inference_exec_count",
    "nv_inference_queue_duration_us",
)

Outputs = dict[str, Any]


@dataclass(frozen=True)
class Counters:
    """What Triton counted of one model: requests, executions, and seconds that all requests waited."""

    requests: float
    executions: float
    waited: float


class SinglePass:
    """What the checks of a front of one pass are given.

    Args:
        name: the front's model name; `folder` is its served version folder.
        client: the way to the server.

    Raises VerifyError when golden.json cannot be read.
    """

    def __init__(self, name: str, folder: Path, client: Client) -> None:
        self.name = name
        self.folder = folder
        self.client = client
        recorded = read_recorded(folder / "golden.json")
        self.asks, self.refusals = recorded.asks, recorded.refusals
        self.tolerance, self.scale, self.batched = recorded.tolerance, recorded.scale, recorded.batched

    # -- what the folder says ---------------------------------------------------------------------

    @cached_property
    def max_batch_size(self) -> int:
        """The most rows of a request, 0 where it has no batch dimension."""
        return int(self.client.configs[self.name].max_batch_size)

    def rows(self) -> int:
        """Return the most rows of a request; skip the check where a request cannot have two."""
        if self.max_batch_size < 2:
            raise Skipped("the model takes one input at a time")
        return self.max_batch_size

    def fitting(self, row: Row) -> int:
        """Return how often a row fits into one request, at least 1: each document counts as a row."""
        return max(1, self.max_batch_size // max(1, len(row.get(DOCUMENTS, ("",)))))

    @cached_property
    def inputs(self) -> dict[str, str]:
        """The front's inputs, name -> wire type such as BYTES or FP32."""
        from tritonclient.grpc import model_config_pb2

        kinds = {
            one.name: str(model_config_pb2.DataType.Name(one.data_type)).removeprefix("TYPE_")
            for one in self.client.configs[self.name].input
        }
        return {name: "BYTES" if kind == "STRING" else kind for name, kind in kinds.items()}

    def texts(self) -> list[str]:
        """Return the inputs that hold text; skip the check without any."""
        found = [name for name in (TEXT, QUERY, DOCUMENTS) if name in self.inputs]
        if not found:
            raise Skipped("the model takes no text")
        return found

    def labels(self) -> tuple[str, list[str]]:
        """Return the output whose elements have names, and the names; skip the check without one."""
        for one in self.client.configs[self.name].output:
            if one.label_filename:
                file = self.folder.parent / one.label_filename
                return one.name, file.read_text(encoding="utf-8").splitlines()
        raise Skipped("no output has labels")

    # -- asking -----------------------------------------------------------------------------------

    def tensors(self, *rows: Row) -> dict[str, Raw]:
        """Return rows as the inputs of one request; a model that does not batch takes only one."""
        found = {}
        for name in rows[0]:
            shape = likeness.shape(rows[0][name])
            values = [value for row in rows for value in likeness.flat(row[name])]
            encoded = [value.encode() if isinstance(value, str) else value for value in values]
            whole = (len(rows), *shape) if self.max_batch_size else shape
            found[name] = Raw(self.inputs[name], whole, encoded)
        return found

    def ask(self, *rows: Row, over: str = "grpc") -> Outputs:
        """Ask for some rows in one request; return its outputs as numpy arrays. Raises TritonError."""
        return self.client.infer(self.name, self.tensors(*rows), over=over)

    def ask_for(self, row: Row, output: str, **options: Any) -> Any:
        """Ask over gRPC for one output only; return tritonclient's InferResult."""
        import tritonclient.grpc as grpc

        tensors = self.client.tensors(grpc, self.name, self.tensors(row))
        wanted = [grpc.InferRequestedOutput(output, **options)]
        return self.client.call("grpc", "infer", self.name, tensors, outputs=wanted)

    def burst(self, requests: Sequence[Sequence[Row]]) -> list[Outputs | TritonError]:
        """Send requests, each of some rows, over one connection without a pause; return what came of each.

        They arrive within a few milliseconds, which as many threads with a connection each cannot do.
        """
        import tritonclient.grpc as grpc

        built = [self.client.tensors(grpc, self.name, self.tensors(*rows)) for rows in requests]
        futures: list[Future[Outputs | TritonError]] = [Future() for _ in built]
        with grpc.InferenceServerClient(self.client.grpc) as client:
            for tensors, future in zip(built, futures, strict=True):
                client.async_infer(self.name, tensors, functools.partial(_settle, future))
            return [future.result() for future in futures]

    def row(self, seen: Outputs, number: int = 0) -> Outputs:
        """Return one row of a request's outputs."""
        return {name: values[number] for name, values in seen.items()} if self.max_batch_size else seen

    # -- judging ----------------------------------------------------------------------------------

    def good(self, ask: Ask, over: str = "grpc") -> None:
        """Ask one recorded question and expect its answer."""
        try:
            seen = self.ask(ask.inputs, over=over)
        except TritonError as error:
            raise Mismatch(f"{ask.id!r} over {over}: {shortened(str(error), 200)}") from error
        self.alike(repr(ask.id), ask.outputs, self.row(seen))

    def still_works(self) -> None:
        """Expect a recorded answer, as proof that what came before broke nothing."""
        try:
            self.good(self.asks[0].trimmed(2))
        except Mismatch as mismatch:
            raise Mismatch(f"the request after it failed: {mismatch}") from mismatch

    def refused(self, refusal: Refusal, over: str = "grpc") -> TritonError:
        """Expect an error that holds all it must mention, and a good answer after it; return the error."""
        try:
            seen = self.ask(refusal.inputs, over=over)
        except TritonError as error:
            said = error
        else:
            shapes = ", ".join(f"{name} {[*np.shape(value)]}" for name, value in seen.items())
            raise Mismatch(f"{refusal.id}: answered with {shapes}, expected an error")
        missing = [word for word in refusal.mentions if word not in str(said)]
        expect(
            not missing,
            f"{refusal.id}: the error does not name {', '.join(missing)}: {shortened(str(said), 200)}",
        )
        self.still_works()
        return said

    def alike(self, what: str, wanted: Row, seen: Row) -> None:
        """Expect each output that is wanted in what was seen, as near as the precision allows."""
        for name, value in wanted.items():
            expect(name in seen, f"{what}: no output {name}, only {', '.join(seen)}")
            likeness.require_alike(
                f"{what}: {name}",
                value,
                seen[name],
                self.tolerance,
                scale=self.scale.get(name, ()),
                entities=name == likeness.ENTITIES,
            )

    # -- Triton's own counters --------------------------------------------------------------------

    def counters(self) -> Counters:
        """Return what was counted so far of the model that batches; skip the check without metrics."""
        if self.client.metrics_address is None:
            raise Skipped("no metrics address was given")
        label = f'model="{self.batched}"'
        values = {name: value for (name, labels), value in self.client.metrics().items() if label in labels}
        missing = [family for family in _COUNTERS if family not in values]
        expect(not missing, f"the metrics endpoint has no {', '.join(missing)} for {self.batched}")
        requests, executions, waited = (values[family] for family in _COUNTERS)
        return Counters(requests, executions, waited / 1e6)


def _settle(future: Future[Outputs | TritonError], result: Any, error: Any) -> None:
    if error is not None:
        future.set_result(TritonError(str(error.message()), error.status()))
    else:
        names = [output.name for output in result.get_response().outputs]
        future.set_result({name: result.as_numpy(name) for name in names})
