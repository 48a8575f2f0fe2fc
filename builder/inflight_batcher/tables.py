"""The tables of data/inflight_batcher.toml as the tensors of one version of TensorRT-LLM."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from builder import house
from builder.ensemble import Tensor

_TENSOR = re.compile(r"(\w+)\[([-\d,]+)\]((?: \w+)*)")
_BEFORE = re.compile(r"before (\d+)\.(\d+)")


@dataclass(frozen=True)
class Types:
    """The data types that an engine decides, in Triton's spelling without TYPE_."""

    logits: str = "FP32"
    features: str = "FP16"
    prompt_table: str = "FP16"
    adapters: str = "FP16"


def tensors(
    model: str, version: str, types: Types | None = None
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the inputs and outputs of one of NVIDIA's models.

    Args:
        model: its name; that of the LLM API is "llmapi" here.
        version: TensorRT-LLM's, such as "1.2.1": before 0.20 two tensors had other names and some were not.
    """
    table = _read()[model]
    decided = types or Types()
    names, lacking = _of_version(version)
    inputs, outputs = (
        tuple(
            _tensor(names.get(name, name), text, decided)
            for name, text in table[side].items()
            if model == "llmapi" or name not in lacking
        )
        for side in ("inputs", "outputs")
    )
    return inputs, outputs


def name_of(tensor: str, version: str) -> str:
    """Return what a version calls a tensor of the newest."""
    return _of_version(version)[0].get(tensor, tensor)


def renamed(tensor: str, version: str) -> str:
    """Return what a version calls a tensor of any other, "" where it has none."""
    names, lacking = _of_version(version)
    newest = {old: new for table in _befores().values() for new, old in table["names"].items()}
    name = newest.get(tensor, tensor)
    return "" if name in lacking else names.get(name, name)


def changed(version: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of tensors that no version after this one has, and those that came later."""
    names, lacking = _of_version(version)
    return frozenset(names.values()), lacking | names.keys()


def parameters() -> Mapping[str, Mapping[str, str]]:
    """Return the parameters of backend tensorrtllm: name -> its kind, and its default where it has one."""
    table: Mapping[str, Mapping[str, str]] = _read()["parameters"]
    return table


@cache
def _read() -> dict[str, Any]:
    path = house.folder("data") / "inflight_batcher.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _of_version(version: str) -> tuple[Mapping[str, str], frozenset[str]]:
    """Return newest name -> the version's own, and what it lacks."""
    names: dict[str, str] = {}
    lacking: set[str] = set()
    for before, told in _befores().items():
        if release(version) < before:
            names |= told["names"]
            lacking |= set(told["lacks"])
    return names, frozenset(lacking)


def _befores() -> dict[tuple[int, int], Any]:
    """Return the first release without them -> the names of a table and what it lacks."""
    found = ((_BEFORE.fullmatch(heading), told) for heading, told in _read().items())
    return {(int(before[1]), int(before[2])): told for before, told in found if before is not None}


def release(version: str) -> tuple[int, int]:
    """Return the major and minor version."""
    major, minor = (int(part) for part in re.findall(r"\d+", version)[:2])
    return major, minor


def _tensor(name: str, text: str, types: Types) -> Tensor:
    read = _TENSOR.fullmatch(text)
    if read is None:
        raise ValueError(f"Bug: {name} = {text!r} is no tensor")
    traits = read[3].split()
    return Tensor(
        name,
        getattr(types, read[1].lower(), read[1]),
        tuple(int(size) for size in read[2].split(",")),
        optional="optional" in traits,
        ragged="ragged" in traits,
        scalar="scalar" in traits,
    )
