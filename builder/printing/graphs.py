"""Ensembles drawn: as a tree in the terminal, as a Mermaid flowchart in Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

from builder import ensemble_graph
from builder.data_types import spelled
from builder.ensemble_graph import Wire
from builder.layout import Layout, Model
from builder.printing import plain

_MEANT = re.compile(r"""^\s*(platform\s*:\s*["']ensemble["']|ensemble_scheduling\b)""", re.MULTILINE)
_UNREADABLE = "its config cannot be read: see its findings"
_ENTITIES = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "`": "#96;"}


def ensembles(repository: Layout) -> list[Model]:
    """Return the ensembles, and the models whose config cannot be read but seems to be an ensemble's."""
    return [
        model
        for model in repository.models.values()
        if model.backend == "ensemble" or (model.config is None and _MEANT.search(model.text))
    ]


def tree(model: Model, repository: Layout) -> str:
    """Return an ensemble as lines: its steps in order, what each reads and writes, with types and shapes."""
    if model.config is None:
        return plain.line(f"{model.name} (ensemble, {_UNREADABLE})")
    wires = ensemble_graph.wires(model, repository)
    lines = [f"{model.name} (ensemble, max_batch_size {model.config.max_batch_size})"]
    for tensor in model.config.input:
        lines.append(f"|-- input  {_typed(model, wires[tensor.name])}")
    for step in ensemble_graph.steps(model):
        lines += _step(model, step, repository, wires)
    outputs = [tensor.name for tensor in model.config.output]
    for place, name in enumerate(outputs, 1):
        corner = "`" if place == len(outputs) else "|"
        lines.append(f"{corner}-- output {_typed(model, wires[name])}")
    return "\n".join(map(plain.line, lines))


def _step(model: Model, step: Any, repository: Layout, wires: Mapping[str, Wire]) -> Iterator[str]:
    part = repository.models.get(step.model_name)
    if part is None:
        yield f"|-- step   {step.model_name} (no such model in the repository)"
    else:
        yield f"|-- step   {step.model_name}" + (f" ({_UNREADABLE})" if part.config is None else "")
    # of a model that cannot be read nobody knows the tensors
    readable = part if part is not None and part.config is not None else None
    for arrow, mapping, known in (
        ("<-", step.input_map, readable.inputs() if readable else step.input_map),
        ("->", step.output_map, readable.outputs() if readable else step.output_map),
    ):
        for name, tensor in sorted(mapping.items()):
            absent = "" if name in known else f" (no {name} in {step.model_name})"
            yield f"|     {name} {arrow} {_typed(model, wires[tensor])}{absent}"


def mermaid(model: Model, repository: Layout) -> str:
    """Return an ensemble as a section of a Markdown page with a Mermaid flowchart.

    https://mermaid.js.org/syntax/flowchart.html
    """
    heading = f"## {html.escape(plain.line(model.name), quote=False)}"
    if model.config is None:
        return f"{heading}\n\n{_UNREADABLE}"
    return "\n".join([heading, "", "```mermaid", *_flowchart(model, repository), "```"])


def _flowchart(model: Model, repository: Layout) -> Iterator[str]:
    yield "flowchart LR"
    for place, step in enumerate(ensemble_graph.steps(model)):
        yield f"  s{place}[{_label(step.model_name)}]"
    for place, tensor in enumerate(model.config.input):
        yield f"  i{place}([{_label(tensor.name)}])"
    for place, tensor in enumerate(model.config.output):
        yield f"  o{place}([{_label(tensor.name)}])"
    for name, wire in ensemble_graph.wires(model, repository).items():
        for start in _writers(model, name):
            for end in _readers(model, name):
                yield f"  {start} -- {_label(_typed(model, wire))} --> {end}"


def _label(text: str) -> str:
    return '"' + "".join(_ENTITIES.get(one, one) for one in plain.line(text)) + '"'


def _writers(model: Model, tensor: str) -> Iterator[str]:
    for place, one in enumerate(model.config.input):
        if one.name == tensor:
            yield f"i{place}"
    for place, step in enumerate(ensemble_graph.steps(model)):
        if tensor in step.output_map.values():
            yield f"s{place}"


def _readers(model: Model, tensor: str) -> Iterator[str]:
    for place, step in enumerate(ensemble_graph.steps(model)):
        if tensor in step.input_map.values():
            yield f"s{place}"
    for place, one in enumerate(model.config.output):
        if one.name == tensor:
            yield f"o{place}"


def _typed(model: Model, wire: Wire) -> str:
    """Return a tensor with its type and shape, and with what the maps of the ensemble leave open."""
    dims = ", ".join(map(str, wire.dims))
    known = f"{spelled(wire.data_type).removeprefix('TYPE_')}[{dims}]" if wire.ends else "unknown"
    open_ends = [
        word
        for word, ends in (
            ("not written", _writers(model, wire.tensor)),
            ("not read", _readers(model, wire.tensor)),
        )
        if not any(ends)
    ]
    return f"{wire.tensor}: {known}" + "".join(f" ({word})" for word in open_ends)
