"""Which outputs of an ensemble Triton can still make when a client asks for one of them only.

Triton first leaves out the steps that nothing asked for needs, by counting: a step whose outputs are all
left out is left out with what only it reads. A tensor counts as left out when no step is left to read it,
though the client asked for it, and when the client did not ask for it, though a step reads it; one that comes
from the client counts for the first step. Seen with 24.10, and still so in the source of 2026:
`EnsembleContext` in core/src/ensemble_scheduler/ensemble_scheduler.cc; server issue 7482.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from builder import ensemble_graph
from builder.layout import Model

_MOST = 1_000_000
"""Wires, times outputs, of the largest ensemble that is looked at; each is followed once for each output."""

_Readers = Mapping[str, set[int]]


def refused_alone(model: Model) -> list[str]:
    """Return the outputs that an ensemble makes beside all others, and refuses to make alone.

    No larger choice of outputs is refused unless one of it is refused alone: what is left out for the choice
    is left out for each of it too.
    """
    steps, outputs = ensemble_graph.steps(model), list(model.outputs())
    if not steps or len(outputs) < 2 or len(outputs) * sum(map(_size, steps)) > _MOST:
        return []
    if not ensemble_graph.reached(model).issuperset(outputs):
        # it does not load
        return []
    return [
        name for name in outputs if name not in ensemble_graph.reached(model, _left_out(steps, outputs, name))
    ]


def _size(step: Any) -> int:
    return len(step.input_map) + len(step.output_map)


def _left_out(steps: Sequence[Any], outputs: Sequence[str], asked: str) -> set[int]:
    """Return the places of the steps that are left out when one output is asked for."""
    readers = _readers(steps)
    writer: dict[str, int] = {}
    for place, step in enumerate(steps):
        for tensor in step.output_map.values():
            writer.setdefault(tensor, place)
    counts = [len(step.output_map) for step in steps]
    left_out: set[int] = set()
    ignored = {name for name in outputs if name != asked}
    while ignored:
        found = set()
        for tensor in ignored:
            place = writer.get(tensor, 0)
            counts[place] -= 1
            if counts[place]:
                continue
            left_out.add(place)
            for source in steps[place].input_map.values():
                readers[source].discard(place)
                if not readers[source]:
                    found.add(source)
        ignored = found
    return left_out


def _readers(steps: Sequence[Any]) -> _Readers:
    readers: dict[str, set[int]] = {}
    for place, step in enumerate(steps):
        for tensor in step.input_map.values():
            readers.setdefault(tensor, set()).add(place)
    return readers
