"""Front: the model that is asked, as its server describes it."""

from __future__ import annotations

import difflib
import http.client
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from builder.errors import UsageError
from builder.measuring.errors import MeasureError, quoted
from builder.serving import rest

PROMPTS = ("text_input", "messages")


@dataclass(frozen=True)
class Front:
    """A model that streams text; `inputs` are its dtypes by name, in Triton's wire names."""

    name: str
    inputs: dict[str, str]
    outputs: tuple[str, ...]
    batched: bool


def find(http_address: str, name: str | None) -> Front:
    """Return the model called `name`, or the only front of the server.

    Raises MeasureError when no Triton answers, UsageError when the name is none or several fit.
    """
    try:
        names = sorted({row["name"] for row in rest.repository_index(http_address)})
        if name is not None:
            return _named(http_address, name, names)
        configs = [_config(http_address, one) for one in names]
    except (OSError, http.client.HTTPException) as failure:
        raise MeasureError(
            f"no Triton answers at http://{http_address}: {_why(failure)}",
            expected="a running server, or no --url to have one booted",
            remedy="builder serve",
        ) from failure
    fronts = [front for front in configs if front and front.outputs]
    if len(fronts) != 1:
        raise UsageError(
            f"{len(fronts)} models at http://{http_address} stream text",
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
            f"{name} does not stream text",
            expected=f"a decoupled model that takes {' or '.join(PROMPTS)}",
            remedy="name the front: `builder measure --help`",
        )
    return front


def _config(http_address: str, name: str) -> Front | None:
    config = _fetched(http_address, name)
    # an ensemble stands beside its front
    return None if config is None or config.get("platform") == "ensemble" else _front(config)


def _fetched(http_address: str, name: str) -> dict[str, Any] | None:
    status, config = rest.call(http_address, "GET", f"/v2/models/{quote(name, safe='')}/config")
    return dict(config) if status == 200 else None


def _front(config: dict[str, Any]) -> Front | None:
    inputs = {
        tensor["name"]: {"TYPE_STRING": "BYTES"}.get(
            tensor["data_type"], tensor["data_type"].removeprefix("TYPE_")
        )
        for tensor in config.get("input", ())
    }
    decoupled = (config.get("model_transaction_policy") or {}).get("decoupled")
    if not decoupled or not any(name in inputs for name in PROMPTS):
        return None
    outputs = tuple(tensor["name"] for tensor in config.get("output", ()))
    return Front(config["name"], inputs, outputs, config.get("max_batch_size", 0) > 0)
