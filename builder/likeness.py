"""Whether two answers of a model that answers in one pass are the same, as near as its precision allows."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builder.quantization import Tolerance
from builder.subject import expect

ENTITIES = "entities"

Numbers = NDArray[np.float64]


def require_alike(
    what: str,
    wanted: Any,
    seen: Any,
    tolerance: Tolerance,
    *,
    scale: Sequence[float] = (),
    entities: bool = False,
) -> None:
    """Raise Mismatch, which says `what`, unless `seen` is as near to `wanted` as the tolerance allows.

    Texts and whole numbers must be the same. Other numbers must have the same shape; be as near as
    `tolerance.error`, which counts for numbers up to 1 and grows with larger ones; point in the direction of
    `tolerance.cosine`; and be about as large, of which a direction says nothing. With `scale`, a size for
    each of the numbers, they must be as near as that share of it, and no more. With `entities` both are JSON
    lists of entities, whose scores alone may differ.
    """
    values, expected = readable(seen), readable(wanted)
    if entities:
        _require_entities(what, json.loads(flat(expected)[0]), json.loads(flat(values)[0]), tolerance)
        return
    array = np.asarray(values)
    if array.dtype.kind in "iub" or any(isinstance(one, str) for one in flat(expected)):
        same = flat(values) == flat(expected)
        expect(same, f"{what} is {_some(flat(values))}, expected {_some(flat(expected))}")
        return
    numbers = np.asarray(expected, np.float64), array.astype(np.float64)
    expect(
        numbers[1].shape == numbers[0].shape,
        f"{what} has shape {[*numbers[1].shape]}, expected {[*numbers[0].shape]}",
    )
    if scale:
        _require_in_scale(what, *numbers, tolerance.error * np.asarray(scale))
    else:
        _require_numbers(what, *numbers, tolerance)


def spread(tolerance: Tolerance) -> float:
    """Return how far apart two vectors of length 1 may lie: from cos = 1 - d**2 / 2."""
    return math.sqrt(2 * (1 - tolerance.cosine))


def _require_in_scale(what: str, wanted: Numbers, seen: Numbers, most: Numbers) -> None:
    finite = np.isfinite(wanted)
    _require_near(what, wanted[~finite], seen[~finite], 0.0)
    _require_near(what, wanted[finite], seen[finite], np.broadcast_to(most, wanted.shape)[finite])


def _require_numbers(what: str, wanted: Numbers, seen: Numbers, tolerance: Tolerance) -> None:
    left, right = wanted.reshape(-1), seen.reshape(-1)
    finite = np.isfinite(left)
    _require_near(what, left[~finite], right[~finite], 0.0)
    left, right = left[finite], right[finite]
    _require_near(what, left, right, tolerance.error * max(1.0, float(np.abs(left).max(initial=0.0))))
    sizes = float(np.linalg.norm(left)), float(np.linalg.norm(right))
    room = 2 * spread(tolerance) * max(1.0, sizes[0])
    if left.size == 1:
        _require_near(what, left, right, room)
    if left.size < 2:
        return
    cosine = float(left @ right) / (sizes[0] * sizes[1]) if all(sizes) else float(np.array_equal(left, right))
    expect(
        cosine >= tolerance.cosine,
        f"{what} has cosine {cosine:.6f} to what was expected, at least {tolerance.cosine:g}: "
        f"{_some(right.tolist())}, expected {_some(left.tolist())}",
    )
    expect(
        abs(sizes[0] - sizes[1]) <= room,
        f"{what} has length {sizes[1]:.4g}, expected {sizes[0]:.4g} give or take {room:.2g}",
    )


def _require_near(what: str, wanted: Numbers, seen: Numbers, most: float | Numbers) -> None:
    if np.array_equal(wanted, seen, equal_nan=True):
        return
    room = np.broadcast_to(np.asarray(most, np.float64), wanted.shape)
    with np.errstate(invalid="ignore"):
        # not a number is further off than any number
        off = np.nan_to_num(np.abs(wanted - seen), nan=np.inf)
        place = int(np.where(np.isfinite(room), off - room, off).argmax())
    expect(
        float(off[place]) <= room[place] and np.isfinite(seen[place]),
        f"{what} is {seen[place]:.6g} at {place}, expected {wanted[place]:.6g}: "
        f"off by {off[place]:.2e}, at most {room[place]:.1e}",
    )


def _require_entities(what: str, wanted: Sequence[Any], seen: Sequence[Any], tolerance: Tolerance) -> None:
    def named(found: Sequence[Any]) -> list[Any]:
        return [(one["entity"], one["start"], one["end"], one["text"]) for one in found]

    expect(named(wanted) == named(seen), f"{what} are {_some(named(seen))}, expected {_some(named(wanted))}")
    most = min(tolerance.error, spread(tolerance))
    for left, right in zip(wanted, seen, strict=True):
        off = abs(left["score"] - right["score"])
        expect(off <= most, f"{what}: the score of {left['text']!r} is off by {off:.2e}, at most {most:.1e}")


def flat(values: Any) -> list[Any]:
    """Return the elements of nested lists in their order."""
    if not isinstance(values, list | tuple):
        return [values]
    return [one for value in values for one in flat(value)]


def shape(values: Any) -> tuple[int, ...]:
    """Return the sizes of nested lists; numpy would have texts and bytes be of one kind first."""
    if not isinstance(values, list | tuple):
        return ()
    return (len(values), *(shape(values[0]) if values else ()))


def readable(value: Any) -> Any:
    """Return an array as lists, its bytes as text."""
    if isinstance(value, np.ndarray):
        return readable(value.tolist())
    if isinstance(value, list | tuple):
        return [readable(one) for one in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _some(values: Sequence[Any]) -> str:
    shown = ", ".join(f"{one:.6g}" if isinstance(one, float) else repr(one) for one in values[:3])
    return f"[{shown}, ...]" if len(values) > 3 else f"[{shown}]"
