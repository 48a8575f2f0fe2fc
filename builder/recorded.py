"""Recorded: the golden.json of a front that answers in one pass, written when the source itself was asked."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builder.errors import VerifyError
from builder.quantization import Tolerance

QUERY, DOCUMENTS, TEXT = "query", "documents", "text_input"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Ask:
    """One recorded question: values of each input, and the source's of each output, without the batch."""

    id: str
    inputs: Row
    outputs: Row

    def trimmed(self, documents: int) -> Ask:
        """Return the question with the first of its documents only, or itself where it has none."""
        if DOCUMENTS not in self.inputs:
            return self
        return replace(
            self,
            inputs={**self.inputs, DOCUMENTS: self.inputs[DOCUMENTS][:documents]},
            outputs={name: values[:documents] for name, values in self.outputs.items()},
        )


@dataclass(frozen=True)
class Refusal:
    """A question that must be refused, with all of these words in the error."""

    id: str
    inputs: Row
    mentions: tuple[str, ...]


@dataclass(frozen=True)
class Recorded:
    """What golden.json holds; `batched` names the model of the deployment that computes batches.

    `scale` has for an output in units of its own the size by which an error in each of its numbers counts.
    """

    asks: tuple[Ask, ...]
    refusals: tuple[Refusal, ...]
    tolerance: Tolerance
    batched: str
    scale: Mapping[str, tuple[float, ...]]


def read_recorded(path: Path) -> Recorded:
    """Read golden.json; raise VerifyError when it is absent, of another format, or asks nothing."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["format"] != 1:
            raise VerifyError(f"{path} has format {told['format']}", expected="format 1")
        recorded = Recorded(
            tuple(Ask(str(one["id"]), _inputs(one["inputs"]), dict(one["outputs"])) for one in told["asks"]),
            tuple(
                Refusal(str(one["id"]), _inputs(one["inputs"]), tuple(one["mentions"]))
                for one in told["refuses"]
            ),
            Tolerance(**{name: float(value) for name, value in told["tolerance"].items()}),
            str(told["batched"]),
            {name: tuple(map(float, values)) for name, values in told.get("scale", {}).items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise VerifyError(
            f"{path} cannot be read: {type(error).__name__}: {error}", remedy="builder build"
        ) from error
    if not recorded.asks:
        raise VerifyError(f"{path} holds no question", expected="some to compare", remedy="builder build")
    return recorded


def _inputs(told: Row) -> dict[str, Any]:
    """Return inputs with what JSON can only hold in base64 as bytes."""
    return {
        name: [base64.b64decode(one["base64"]) if isinstance(one, dict) else one for one in values]
        for name, values in told.items()
    }
