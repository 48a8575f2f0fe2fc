"""Scores of pairs, one in a row, back to the queries that the pairs are of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SCORES, QUERIES = "scores", "queries"


def by_query(scores: npt.NDArray[Any], queries: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return float32 [b,n] of `scores` [p,1]; `queries` [p,1] says which of b queries each pair is of.

    Raises:
        ValueError: the pairs do not lie query after query, or the queries have not all as many.
    """
    count = int(queries.max(initial=0)) + 1
    each = queries.size // count
    if not each or not np.array_equal(queries.ravel(), np.repeat(np.arange(count), each)):
        raise ValueError(
            f"{QUERIES}: {queries.ravel().tolist()}; send the same number of each query, from 0, in order"
        )
    return np.asarray(scores, dtype=np.float32).reshape(count, each)
