"""What of a model is rounded alike: parts small enough to tell layers apart, few enough to try each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from builder.architecture import Dimensions
from builder.gguf import mixes

Place = tuple[str, int | None]
Shape = tuple[int, int]

ROUNDED: tuple[str, ...] = ("Q2_K", "Q3_K", "Q4_K", "Q4_1", "Q5_K", "Q6_K", "Q8_0")
"""Types to choose from, the smallest first; Q4_1 is what many files of before are kept in."""

UNROUNDED: Mapping[str, tuple[str, ...]] = {"bf16": ("BF16",), "fp16": ("F16",), "fp32": ("F16", "F32")}
"""What a checkpoint is stored in -> types as wide, the last of which loses nothing."""

_GROUPS: Mapping[str, tuple[str, ...]] = {
    "attention": ("query", "key", "value", "attention_output"),
    "feed_forward": ("gate", "up"),
    "down": ("down",),
}


def parts_of(sizes: Dimensions) -> dict[str, tuple[Place, ...]]:
    """Return part -> the places of its matrices; see `mixes.matrices`.

    A table that is embedding and head in one is one part, "embedding": what it loses, it loses as both.
    """
    places = [place for place, _ in mixes.matrices(sizes)]
    found: dict[str, tuple[Place, ...]] = {role: ((role, None),) for role, layer in places if layer is None}
    for layer in range(sizes.layers):
        for group, roles in _GROUPS.items():
            found[f"{layer}.{group}"] = tuple((role, layer) for role in roles)
    return found


def kinds(precision: str) -> tuple[str, ...]:
    """Return the types to choose from for a checkpoint of this precision, the smallest first."""
    return ROUNDED + UNROUNDED[precision]


def types(chosen: Mapping[str, str], sizes: Dimensions) -> dict[Place, str]:
    """Return place -> the type that its matrix really gets, from part -> the type that was chosen."""
    shapes = dict(mixes.matrices(sizes))
    return {
        place: mixes.fitting(chosen[part], shapes[place][1])
        for part, places in parts_of(sizes).items()
        for place in places
    }


def sizes_of(
    places: tuple[Place, ...], kinds: Iterable[str], shapes: Mapping[Place, Shape]
) -> dict[str, int]:
    """Return type -> the bytes of a part in it, or in what stands in for it."""
    return {
        kind: sum(mixes.size(mixes.fitting(kind, shapes[place][1]), shapes[place]) for place in places)
        for kind in kinds
    }
