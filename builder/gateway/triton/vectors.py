"""Texts, or ids taken as they are, as the vectors of an embedding model."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from builder.gateway.triton import asking, hearing
from builder.gateway.triton.connection import Connection
from builder.gateway.triton.failures import Failure, Kind
from builder.gateway.triton.served import Served

Vectors = npt.NDArray[np.float32]
Part = tuple[Vectors, int]
"""float32 [n, m], and how many tokens the texts have together."""

TRIES = 4
_BOUNDS = re.compile(r"idx=(-?\d+) must be within the inclusive range \[-?\d+,(\d+)\]")
"""ONNX Runtime's words for an id, or a place in a text, that a table of the model does not have."""


async def of_texts(
    connection: Connection, model: Served, texts: Sequence[str], seconds: float | None
) -> Part:
    """Return the vectors of texts, asked for in batches of the model's size. Raises Failure."""
    rows = max(1, model.most_rows)
    parts = [texts[start : start + rows] for start in range(0, len(texts), rows)]
    return await _together([_texts(connection, model, part, seconds) for part in parts])


async def of_ids(
    connection: Connection, model: Served, rows: Sequence[list[int]], seconds: float | None
) -> Part:
    """Return the vectors of texts that are given as ids, special ones included. Raises Failure."""
    return await _together([_ids(connection, model, row, seconds) for row in rows])


async def _together(asks: Sequence[Coroutine[Any, Any, Part]]) -> Part:
    """Return the parts as one; when one fails the others are cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask) for ask in asks]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    parts = [task.result() for task in tasks]
    return np.concatenate([vectors for vectors, _ in parts]), sum(tokens for _, tokens in parts)


async def _texts(connection: Connection, model: Served, texts: Sequence[str], seconds: float | None) -> Part:
    inputs = [asking.texts("text_input", texts)]
    request = asking.request(model.name, inputs, ("embedding", "num_input_tokens"), seconds)
    for left in reversed(range(TRIES)):
        try:
            found = await hearing.infer(connection, request)
            return found["embedding"], int(found["num_input_tokens"].sum())
        except Failure as failure:
            # all requests of a batch fail with the ids of one
            if not left or not _BOUNDS.search(failure.text):
                raise
    raise AssertionError("TRIES is above 0")


async def _ids(connection: Connection, model: Served, row: list[int], seconds: float | None) -> Part:
    """Ask the encoder itself, whose rows are (tokens, ids that they take).

    A config tells neither vocabulary nor length: they are learnt from the first request that is beyond them,
    and later ones are refused before they spoil a batch.
    """
    inputs = [
        asking.integers("input_ids", [row]),
        asking.integers("rows", [[len(row), len(row)]]),
        asking.integers("extent", [[0] * len(row)]),
    ]
    request = asking.request(f"{model.name}_encoder", inputs, ("embedding",), seconds)
    for left in reversed(range(TRIES)):
        _require_within(model, row)
        try:
            return (await hearing.infer(connection, request))["embedding"], len(row)
        except Failure as failure:
            beyond = _BOUNDS.search(failure.text)
            if beyond is None:
                raise
            _learn(model, row, int(beyond[1]), int(beyond[2]))
            if not left:
                _require_within(model, row)
                raise
    raise AssertionError("TRIES is above 0")


def _require_within(model: Served, row: list[int]) -> None:
    highest, longest = model.bounds.get("id"), model.bounds.get("length")
    if longest is not None and len(row) > longest:
        raise Failure(Kind.INVALID, f"input_ids has {len(row)} ids, this model takes {longest} at the most")
    if highest is not None and max(row) > highest:
        raise Failure(Kind.INVALID, f"input_ids holds {max(row)}, ids are 0 to {highest}")


def _learn(model: Served, row: list[int], beyond: int, highest: int) -> None:
    """Take note of a bound that this row is beyond; those of others in its batch tell nothing for sure."""
    if beyond in row:
        model.bounds["id"] = highest
    elif len(row) > highest + 1:
        model.bounds["length"] = highest + 1
