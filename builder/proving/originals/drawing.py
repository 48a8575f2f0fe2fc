"""Inputs at random, by what a config says of them: categories, ranges, or nothing but type and shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Arrays = dict[str, np.ndarray[Any, Any]]
    Original = Callable[[Arrays], Arrays]

CERTAIN = "certain"
"""What an original may answer beside its outputs: bool [rows], whether no rounding changes its decision."""

OPEN_SIZE = 8
"""What a dimension is drawn as that the graph leaves open; the same for all, for they may be one."""

DATA_TYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64", "FP16": "float16",
    "FP32": "float32", "FP64": "float64", "STRING": "object",
}  # fmt: skip

_WORDS = ("", "a", "word", "two words", "Ünïcödé", "0")


def samples(config: Mapping[str, Any], count: int, seed: int) -> Arrays:
    """Return name -> array [count, *dims] for each input; the same seed draws the same."""
    import numpy as np

    generator = np.random.default_rng(seed)
    return {entry["name"]: _draw(entry, count, generator) for entry in config["inputs"]}


def _draw(entry: Mapping[str, Any], count: int, generator: np.random.Generator) -> np.ndarray[Any, Any]:
    import numpy as np

    kind = np.dtype(DATA_TYPES[entry["data_type"]])
    shape = (count, *(OPEN_SIZE if size < 0 else size for size in entry["dims"]))
    if "categories" in entry:
        return generator.choice(np.array(entry["categories"], kind), shape)
    if kind.kind == "O":
        return generator.choice(np.array(_WORDS, object), shape)
    if kind.kind in "iub":
        # small enough to be a mask, and the number of any token or class
        return generator.integers(0, 2, shape).astype(kind)
    if "ranges" in entry:
        low, high = np.array(entry["ranges"], np.float64).T
        return generator.uniform(low, high, shape).astype(kind)
    return generator.normal(size=shape).astype(kind)
