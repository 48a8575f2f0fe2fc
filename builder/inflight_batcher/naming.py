"""The tensors of imported models, under the names that the backend of their engine knows.

Some were renamed or added between releases of TensorRT-LLM (data/inflight_batcher.toml). The backend takes no
notice of an input that it does not know: what clients send in it is lost without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder import reading
from builder.errors import BuilderError, SourceError
from builder.inflight_batcher import tables
from builder.inflight_batcher.engine import BACKEND
from builder.inflight_batcher.imported import ENGINE

_ASKING = "tensorrt_llm_bls"
_KNOWN = ((0, 19), (1, 3))
"""From which version on all inputs are known, and from which on there are none."""


@dataclass
class _Model:
    """What becomes of the tensors of one model, by side: name -> the name to be, "" for none."""

    sides: dict[str, dict[str, str]] = field(default_factory=lambda: {"input": {}, "output": {}})


@dataclass(frozen=True)
class Adapted:
    """The configs as a version reads them, and each change in words."""

    models: Mapping[str, Any]
    changes: tuple[str, ...]


def adapted(models: Mapping[str, Any], version: str) -> Adapted:
    """Return copies of configs whose tensors have the names of a version of TensorRT-LLM.

    Ensembles keep theirs, since clients send those, and lead them to the new ones; what the version has not
    is left out, of ensembles too.
    """
    moved = {name: _moved(name, models[name], version) for name in (ENGINE, _ASKING) if name in models}
    found, changes = {}, list[str]()
    for name, config in models.items():
        found[name] = type(config).FromString(config.SerializeToString())
        if name in moved:
            changes += _rename(name, found[name], moved[name], version)
        changes += _lead(name, found[name], moved, version)
    return Adapted(found, tuple(changes))


def _moved(name: str, config: Any, version: str) -> _Model:
    found = _Model()
    for side, told in found.sides.items():
        for tensor in getattr(config, side):
            own = tables.renamed(tensor.name, version)
            if own != tensor.name:
                told[tensor.name] = own
    return found


def _rename(name: str, config: Any, moved: _Model, version: str) -> Iterator[str]:
    for side, told in moved.sides.items():
        tensors = getattr(config, side)
        there = {tensor.name for tensor in tensors}
        kept = []
        for tensor in tensors:
            own = told.get(tensor.name, tensor.name)
            if own != tensor.name:
                yield f"{name}: {side} {tensor.name} {_becomes(own, version)}"
            if own and (own == tensor.name or own not in there):
                copy = type(tensor).FromString(tensor.SerializeToString())
                copy.name = own
                kept.append(copy)
        del tensors[:]
        tensors.extend(kept)


def _lead(name: str, config: Any, moved: Mapping[str, _Model], version: str) -> Iterator[str]:
    """Change which tensors of others an ensemble leads to, and leave out what leads nowhere then."""
    lost: dict[str, set[str]] = {"input": set(), "output": set()}
    for step in config.ensemble_scheduling.step:
        sides = moved[step.model_name].sides if step.model_name in moved else {}
        for side, told in sides.items():
            leads = getattr(step, f"{side}_map")
            for inner in sorted(set(leads) & set(told)):
                outer = leads.pop(inner)
                if told[inner]:
                    leads[told[inner]] = outer
                else:
                    lost[side].add(outer)
    for side, names in lost.items():
        led = {
            one for step in config.ensemble_scheduling.step for one in getattr(step, f"{side}_map").values()
        }
        tensors = getattr(config, side)
        for index in reversed(range(len(tensors))):
            if tensors[index].name in names - led:
                yield f"{name}: {side} {tensors[index].name} {_becomes('', version)}"
                del tensors[index]


def _becomes(own: str, version: str) -> str:
    return f"is written as {own}, its name in {version}" if own else f"is left out: {version} has none"


def problems(folder: Path, models: Mapping[str, Any], version: str) -> Iterator[BuilderError]:
    """Yield what no other name mends: inputs of the engine's model that are nobody's, and foreign code.

    Args:
        folder: the repository.
        models: its configs as they are.
        version: of the engine.
    """
    engine = models.get(ENGINE)
    if engine is not None and engine.backend == BACKEND and _KNOWN[0] <= tables.release(version) < _KNOWN[1]:
        known = {tensor.name for tensor in tables.tensors(ENGINE, version)[0]}
        named = dict.fromkeys(tensor.name for tensor in engine.input)
        # "": what the version lacks is left out
        own = [name for name in named if tables.renamed(name, version) not in (*known, "")]
        if own:
            yield SourceError(
                f"{ENGINE}/config.pbtxt: backend {BACKEND} of TensorRT-LLM {version} reads no input "
                f"{', '.join(own)}: what is sent in it would be lost",
                expected=f"the inputs of NVIDIA's model of {version}",
                remedy=f"take it out of {ENGINE}/config.pbtxt, and of what leads to it",
            )
    if _ASKING in models:
        yield from _foreign_code(folder, _moved(_ASKING, models[_ASKING], version).sides["input"], version)


def _foreign_code(folder: Path, moved: Mapping[str, str], version: str) -> Iterator[BuilderError]:
    """Yield each file of tensorrt_llm_bls that names the engine's inputs as another release does."""
    for path in sorted((folder / _ASKING).rglob("*.py")):
        try:
            quoted = set(re.findall(r"""["'](\w+)["']""", reading.content(path).decode(errors="replace")))
        except OSError as error:
            yield SourceError(f"{path} cannot be read: {error}", remedy="copy the repository again")
            continue
        foreign = {name: own for name, own in moved.items() if own and name in quoted and own not in quoted}
        if foreign:
            yield SourceError(
                f"{path.relative_to(folder)} is of another TensorRT-LLM than the engine: it asks for "
                f"{', '.join(foreign)}, which {version} calls {', '.join(foreign.values())}",
                expected=f"the code of {version}",
                remedy=f"take {_ASKING} of NVIDIA's release {version}, or leave its folder out",
            )
