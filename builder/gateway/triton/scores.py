"""Documents as the scores that a reranker gives them for a query."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from builder.gateway.triton import asking, hearing
from builder.gateway.triton.connection import Connection
from builder.gateway.triton.served import Served

Scores = npt.NDArray[np.float32]


async def of(
    connection: Connection,
    model: Served,
    query: str,
    documents: Sequence[str],
    most: int,
    seconds: float | None,
) -> Scores:
    """Return FP32 [documents], asked for in requests of at most so many pairs. Raises Failure."""
    parts = [documents[start : start + most] for start in range(0, len(documents), most)]
    requests = [_request(model, query, part, seconds) for part in parts]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(hearing.infer(connection, request)) for request in requests]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return np.concatenate([task.result()["scores"].reshape(-1) for task in tasks])


def _request(model: Served, query: str, documents: Sequence[str], seconds: float | None) -> Any:
    tensors = asking.tensors(model, {"query": query, "documents": list(documents)})
    return asking.request(model.name, tensors, ("scores",), seconds)
