"""Front: the model that is asked, as its server describes it."""

from __future__ import annotations

import difflib
import http.client
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from builder.errors import UsageError
from builder.measuring.errors import MeasureError, quoted
from builder.serving import rest

PROMPTS = ("text_input", "messages")


@dataclass(frozen=True)
class Front:
    """A model that `streams` text, or answers every request once.

    `inputs` are its dtypes by name, in Triton's wire names, `dims` their sizes without the batch, `required`
    those that no request may leave out.
    """

    name: str
    inputs: dict[str, str]
    outputs: tuple[str, ...]
    batched: bool
    streams: bool = True
    dims: dict[str, tuple[int, ...]] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    def require_input(self, name: str, where: str) -> None:
        """Raise UsageError when it has no input of that name; `where` says who wants it."""
        if name not in self.inputs:
            near = difflib.get_close_matches(name, self.inputs, 1)
            raise UsageError(
                f"{where}: {self.name} has no input {name}" + (f"; did you mean {near[0]}?" if near else ""),
                expected=f"some of {', '.join(sorted(self.inputs))}",
            )


def find(http_address: str, name: str | None, published: Iterable[str] = ()) -> Front:
    """Return the model called `name`, or the only front of the server.

    A front is a model that streams text, or one that answers once and is no step of an ensemble. `published`
    are those that carry a manifest, where that is known: others only serve them.

    Raises MeasureError when no Triton answers, UsageError when the name is none or several fit.
    """
    try:
        names = sorted({row["name"] for row in rest.repository_index(http_address)})
        if name is not None:
            return _named(http_address, name, names)
        configs = [config for one in names if (config := _fetched(http_address, one)) is not None]
    except (OSError, http.client.HTTPException) as failure:
        raise MeasureError(
            f"no Triton answers at http://{http_address}: {_why(failure)}",
            expected="a running server, or no --url to have one booted",
            remedy="builder serve",
        ) from failure
    fronts = _fronts(configs)
    fronts = [front for front in fronts if front.name in set(published)] or fronts
    if len(fronts) != 1:
        raise UsageError(
            f"{len(fronts)} models at http://{http_address} can be measured",
            expected=f"a NAME out of {', '.join(front.name for front in fronts) or ', '.join(names)}",
        )
    return fronts[0]


def _why(failure: Exception) -> str:
    speaks = not isinstance(failure, http.client.BadStatusLine) or isinstance(failure, OSError)
    return quoted(failure) if speaks else "what listens there does not speak HTTP; is it the gRPC port?"


def _named(http_address: str, name: str, names: list[str]) -> Front:
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        raise UsageError(
            f"the server has no model {name}" + (f"; did you mean {near[0]}?" if near else ""),
            expected=f"one of {', '.join(names) or 'none'}",
        )
    config = _fetched(http_address, name)
    if config is None:
        raise MeasureError(
            f"the server at http://{http_address} knows {name} but does not serve it",
            remedy="look at its log for the reason",
        )
    front = _front(config)
    if front is None:
        raise UsageError(
            f"{name} is decoupled but does not stream text",
            expected=f"a decoupled model that takes {' or '.join(PROMPTS)}, or one that answers once",
            remedy="name the front: `builder measure --help`",
        )
    return front


def _fetched(http_address: str, name: str) -> dict[str, Any] | None:
    status, config = rest.call(http_address, "GET", f"/v2/models/{quote(name, safe='')}/config")
    return dict(config) if status == 200 else None


def _fronts(configs: list[dict[str, Any]]) -> list[Front]:
    steps = {
        step["model_name"]
        for config in configs
        for step in (config.get("ensemble_scheduling") or {}).get("step", ())
    }
    found = [
        front
        for config in configs
        if (front := _front(config)) is not None
        # an ensemble that streams stands beside its front
        and not (front.streams and config.get("platform") == "ensemble")
        and not (not front.streams and front.name in steps)
    ]
    return [front for front in found if front.outputs]


def _front(config: dict[str, Any]) -> Front | None:
    tensors = config.get("input", ())
    inputs = {
        tensor["name"]: {"TYPE_STRING": "BYTES"}.get(
            tensor["data_type"], tensor["data_type"].removeprefix("TYPE_")
        )
        for tensor in tensors
    }
    streams = bool((config.get("model_transaction_policy") or {}).get("decoupled"))
    if streams and not any(name in inputs for name in PROMPTS):
        return None
    return Front(
        config["name"],
        inputs,
        outputs=tuple(tensor["name"] for tensor in config.get("output", ())),
        batched=config.get("max_batch_size", 0) > 0,
        streams=streams,
        dims={tensor["name"]: tuple(map(int, tensor.get("dims", ()))) for tensor in tensors},
        required=tuple(tensor["name"] for tensor in tensors if not tensor.get("optional")),
    )
