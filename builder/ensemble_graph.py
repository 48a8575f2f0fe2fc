"""An ensemble as a typed graph: every end of every wire, with the data type and shape that stands there.

Triton: core/src/ensemble_scheduler/ensemble_utils.cc.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from builder.layout import Layout, Model
from builder.textproto import Key, Path

_Arrows = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class End:
    """Where an ensemble tensor meets a tensor of a model: the ensemble's own, or that of a step.

    `step` is the step's place, -1 for the ensemble itself; `writes` says whether the tensor gets its value
    here; `dims` leave out the batch, which a model with `batches` has before them.
    """

    tensor: str
    owner: str
    name: str
    step: int
    writes: bool
    data_type: int
    dims: tuple[int, ...]
    batches: bool
    field: Path

    def fits(self, other: End) -> bool:
        """Return whether both shapes agree, with or without the batch; -1 agrees with everything."""
        return _agree(self.dims, other.dims) or _agree(self._with_batch, other._with_batch)

    @property
    def _with_batch(self) -> tuple[int, ...]:
        return (-1, *self.dims) if self.batches else self.dims


@dataclass(frozen=True)
class Wire:
    """An ensemble tensor with all its ends, in the order in which Triton sees them."""

    tensor: str
    ends: tuple[End, ...]

    @property
    def writers(self) -> tuple[End, ...]:
        return tuple(end for end in self.ends if end.writes)

    @property
    def readers(self) -> tuple[End, ...]:
        return tuple(end for end in self.ends if not end.writes)

    @property
    def data_type(self) -> int:
        """Return the data type at the first end, 0 when there is none."""
        return self.ends[0].data_type if self.ends else 0

    @property
    def dims(self) -> tuple[int, ...]:
        """Return the narrowest shape that the ends agree on: a known size wins over -1."""
        known = self.ends[0].dims if self.ends else ()
        for end in self.ends[1:]:
            if len(end.dims) == len(known):
                known = tuple(b if a == -1 else a for a, b in zip(known, end.dims, strict=True))
        return known


def steps(model: Model) -> Sequence[Any]:
    """Return the steps of an ensemble, none for every other model."""
    return () if model.config is None else tuple(model.config.ensemble_scheduling.step)


def step_path(place: int) -> Path:
    """Return the path to a step in the config."""
    return ("ensemble_scheduling", "step", place)


def parts(model: Model, repository: Layout) -> Iterator[tuple[Path, Model, Any]]:
    """Yield (path, model, step) of every step whose model is there."""
    for place, step in enumerate(steps(model)):
        part = repository.models.get(step.model_name)
        if part is not None:
            yield step_path(place), part, step


def wires(model: Model, repository: Layout) -> Mapping[str, Wire]:
    """Return the ensemble tensors by name; ends at models or tensors that do not exist are left out."""
    ends: dict[str, list[End]] = {}
    for step in steps(model):
        for tensor in (*step.input_map.values(), *step.output_map.values()):
            ends.setdefault(tensor, [])
    for end in _own_ends(model):
        ends.setdefault(end.tensor, []).append(end)
    for end in _step_ends(model, repository):
        ends[end.tensor].append(end)
    return {tensor: Wire(tensor, tuple(found)) for tensor, found in ends.items()}


def _own_ends(model: Model) -> Iterator[End]:
    # an ensemble's input is written by its client, its output read by it
    for kind, writes in (("input", True), ("output", False)):
        for place, tensor in enumerate(getattr(model.config, kind)):
            dims = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
            yield End(
                tensor.name,
                model.name,
                tensor.name,
                -1,
                writes,
                tensor.data_type,
                tuple(dims),
                model.config.max_batch_size > 0,
                (kind, place),
            )


def _step_ends(model: Model, repository: Layout) -> Iterator[End]:
    for place, step in enumerate(steps(model)):
        part = repository.models.get(step.model_name)
        if part is None or part.config is None:
            continue
        sides = (
            ("input_map", step.input_map, part.inputs(), False),
            ("output_map", step.output_map, part.outputs(), True),
        )
        for field, mapping, tensors, writes in sides:
            for name, tensor in sorted(mapping.items()):
                if name in tensors:
                    yield End(
                        tensor,
                        part.name,
                        name,
                        place,
                        writes,
                        tensors[name].data_type,
                        tuple(tensors[name].dims),
                        part.config.max_batch_size > 0,
                        (*step_path(place), field, Key(name)),
                    )


def streams(model: Model, repository: Layout) -> bool:
    """Return whether a model is decoupled; an ensemble is where a step of it is, at any depth."""
    waiting, seen = [model], {model.name}
    while waiting:
        part = waiting.pop()
        if part.config is not None and part.config.model_transaction_policy.decoupled:
            return True
        names = {step.model_name for step in steps(part)} - seen
        seen |= names
        waiting += [repository.models[name] for name in names if name in repository.models]
    return False


def reached(model: Model, without: Collection[int] = ()) -> set[str]:
    """Return the ensemble tensors that get a value once the inputs have theirs, some steps left out."""
    known: set[str] = set()
    written = [tuple(step.output_map.values()) for step in steps(model)]
    lacking = [set(step.input_map.values()) for step in steps(model)]
    readers: dict[str, list[int]] = {}
    for place, tensors in enumerate(lacking):
        for tensor in tensors if place not in without else ():
            readers.setdefault(tensor, []).append(place)
    found = [tensor.name for tensor in model.config.input]
    for place, tensors in enumerate(lacking):
        found += [] if tensors or place in without else written[place]
    while found:
        tensor = found.pop()
        for place in readers.get(tensor, ()) if tensor not in known else ():
            lacking[place].discard(tensor)
            found += [] if lacking[place] else written[place]
        known.add(tensor)
    return known


def circle(model: Model, repository: Layout) -> tuple[str, ...]:
    """Return the models of a circle of ensembles that begins and ends with this one, () for none."""
    found = _circles(repository).get(model.name, ())
    place = found.index(model.name) if found else 0
    return (*found[place:], *found[:place], model.name) if found else ()


@lru_cache(maxsize=1)
def _circles(repository: Layout) -> _Arrows:
    """Return for each ensemble of a circle all the models of one, each once."""
    nexts = {
        name: tuple(dict.fromkeys(step.model_name for step in steps(model)))
        for name, model in repository.models.items()
    }
    found: dict[str, tuple[str, ...]] = {}
    # what no circle leads to is on none, and neither is what leads to none
    for name in _endless(_turned(_endless(nexts))):
        if name not in found:
            way = _way_back(name, nexts)
            found |= {one: way for one in way if one not in found}
    return found


def _endless(nexts: _Arrows) -> _Arrows:
    """Return the part of a graph from which one can walk on and on."""
    before = _turned(nexts)
    left = {name: sum(one in nexts for one in following) for name, following in nexts.items()}
    ended = [name for name, number in left.items() if not number]
    while ended:
        for name in before.get(ended.pop(), ()):
            left[name] -= 1
            ended += [] if left[name] else [name]
    return {name: following for name, following in nexts.items() if left[name]}


def _turned(nexts: _Arrows) -> _Arrows:
    """Return the graph with its arrows turned round, without those that lead out of it."""
    before: dict[str, list[str]] = {name: [] for name in nexts}
    for name, following in nexts.items():
        for one in following:
            if one in before:
                before[one].append(name)
    return {name: tuple(names) for name, names in before.items()}


def _way_back(start: str, nexts: _Arrows) -> tuple[str, ...]:
    """Return the models of a circle from one on, () where none leads back to it."""
    trail = [start]
    branches = [iter(nexts[start])]
    seen: set[str] = set()
    while branches:
        one = next(branches[-1], None)
        if one == start:
            return tuple(trail)
        if one is None:
            branches.pop()
            trail.pop()
        elif one in nexts and one not in seen:
            seen.add(one)
            trail.append(one)
            branches.append(iter(nexts[one]))
    return ()


def _agree(mine: Sequence[int], other: Sequence[int]) -> bool:
    return len(mine) == len(other) and all(a == b or -1 in (a, b) for a, b in zip(mine, other, strict=True))
