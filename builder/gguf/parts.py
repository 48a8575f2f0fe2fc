"""What of a model is rounded alike: parts small enough to tell layers apart, few enough to try each."""

from __future__ import annotations

from collections.abc import Mapping

from builder.architecture import Dimensions
from builder.gguf import mixes

Place = tuple[str, int | None]

SMALLER: tuple[str, ...] = ("Q2_K", "Q3_K", "Q4_K", "Q4_1", "Q5_K", "Q6_K", "Q8_0")
"""Types to choose from, the smallest first; Q4_1 is what many files of before are kept in."""

_GROUPS: Mapping[str, tuple[str, ...]] = {
    "attention": ("query", "key", "value", "attention_output"),
    "feed_forward": ("gate", "up"),
    "down": ("down",),
}


def parts_of(sizes: Dimensions) -> dict[str, tuple[Place, ...]]:
    """Return part -> the places of its matrices; see `mixes.matrices`."""
    places = [place for place, _ in mixes.matrices(sizes)]
    found: dict[str, tuple[Place, ...]] = {role: ((role, None),) for role, layer in places if layer is None}
    for layer in range(sizes.layers):
        for group, roles in _GROUPS.items():
            found[f"{layer}.{group}"] = tuple((role, layer) for role in roles)
    return found
