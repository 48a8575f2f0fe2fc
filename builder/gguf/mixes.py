"""Which type each matrix of a GGUF gets: llama.cpp's mixes of K-quants, and what stands in for those.

The rules are those of llama_tensor_get_type and of the fallback behind it (llama.cpp, src/llama-quant.cpp),
for dense models of llama's kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from builder.architecture import Dimensions, linear_layers
from builder.gguf.header import TENSOR_TYPES

BLOCKS: Mapping[str, tuple[int, int]] = {name: (count, size) for name, count, size in TENSOR_TYPES.values()}
"""Type -> the elements of a block, and its bytes."""

STANDS_IN: Mapping[str, str] = {
    "Q2_K": "IQ4_NL",
    "Q3_K": "IQ4_NL",
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}
"""Type of blocks of 256 -> what a matrix gets whose rows are no whole number of them: blocks of 32."""


@dataclass(frozen=True)
class Mix:
    """`base` for most matrices, `more` for the value and down projections that count most, `head` for what
    logits are made with; `file` is the name of the whole."""

    file: str
    base: str
    more: str
    head: str


Q8_0 = Mix("Q8_0", "Q8_0", "Q8_0", "Q8_0")
Q5_K_M = Mix("Q5_K_M", "Q5_K", "Q6_K", "Q6_K")
Q4_K_M = Mix("Q4_K_M", "Q4_K", "Q6_K", "Q6_K")
MIXES: Mapping[str, Mix] = {mix.file: mix for mix in (Q8_0, Q5_K_M, Q4_K_M)}


def types(mix: Mix, sizes: Dimensions) -> dict[tuple[str, int | None], str]:
    """Return (role, layer or None) -> the type of every matrix."""
    return {place: fitting(_wanted(mix, *place, sizes), shape[1]) for place, shape in matrices(sizes)}


def matrices(sizes: Dimensions) -> Iterator[tuple[tuple[str, int | None], tuple[int, int]]]:
    """Yield (role, layer or None) and (out, in) of every matrix."""
    table = (sizes.vocabulary_size, sizes.hidden_size)
    yield ("embedding", None), table
    if not sizes.tied_embeddings:
        yield ("head", None), table
    for layer in range(sizes.layers):
        for role, shape in linear_layers(sizes).items():
            yield (role, layer), shape


def fitting(kind: str, columns: int) -> str:
    """Return the type, or what stands in for it where rows of so many columns are no whole blocks."""
    for one in (kind, STANDS_IN.get(kind, kind), "F16"):
        if columns % BLOCKS[one][0] == 0:
            return one
    raise AssertionError("rows of F16 are always whole")


def size(kind: str, shape: tuple[int, int]) -> int:
    """Return the bytes of a matrix."""
    elements, each = BLOCKS[kind]
    return math.prod(shape) // elements * each


def total(chosen: Mapping[tuple[str, int | None], str], sizes: Dimensions) -> int:
    """Return the bytes of all weights; vectors are float32."""
    found = dict(matrices(sizes))
    vectors = sizes.parameters - sum(math.prod(shape) for shape in found.values())
    return 4 * vectors + sum(size(chosen[place], shape) for place, shape in found.items())


def mixed_bytes(mix: Mix, sizes: Dimensions) -> int:
    """Return the bytes of all weights of a mix."""
    return total(types(mix, sizes), sizes)


def _wanted(mix: Mix, role: str, layer: int | None, sizes: Dimensions) -> str:
    if layer is None:
        makes_logits = role == "head" or sizes.tied_embeddings
        return mix.head if makes_logits else mix.base
    if role in ("value", "down") and _counts_most(layer, sizes.layers):
        return mix.more
    return mix.base


def _counts_most(layer: int, layers: int) -> bool:
    """Say whether a layer is among the first or last eighth, or every third of those between."""
    first, last = layers // 8, 7 * layers // 8
    return layer < first or layer >= last or (layer - first) % 3 == 2
