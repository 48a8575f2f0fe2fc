"""The query and the documents of many requests to the pairs of ids of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backends.batches import extent, together
from backends.text.elements import read_texts
from backends.text.limits import LimitedEncoder

QUERY, DOCUMENTS = "query", "documents"

Pair = tuple[str, str]


_TOGETHER = 64
"""Pairs of which the encodings, far larger than their ids, are in memory at the same time."""


class Arrays(NamedTuple):
    """A request of b queries with n documents each: p = b x n pairs, query after query; all are int32.

    `input_ids` [p,W] has the ids of all pairs one after the other, filled up at the end; `rows` [p,3] of each
    pair its tokens, the ids that it takes, and how many of its tokens have type 0 before the first that has
    another, all of them in families that have only one type; `extent` [p,m] at least as many elements as the
    longest pair has tokens; `queries` [p,1] the number of the query that a pair is of.
    """

    input_ids: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int32]
    extent: npt.NDArray[np.int32]
    queries: npt.NDArray[np.int32]


def answer(
    encoder: LimitedEncoder,
    requests: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    most: int | None = None,
) -> list[Arrays | ValueError]:
    """Return for each request, `query` bytes [b,1] and `documents` bytes [b,n], its arrays or its refusal.

    `most` is how many pairs a request may have, None for any number.
    """
    read = [_read(encoder, query, documents, most) for query, documents in requests]
    encodings = _encoded(encoder, [pair for part in read if isinstance(part, list) for pair in part])
    return [
        part
        if isinstance(part, ValueError)
        else _arrays(encoder, [next(encodings) for _ in part], documents.shape)
        for part, (_, documents) in zip(read, requests, strict=True)
    ]


def _encoded(encoder: LimitedEncoder, pairs: Sequence[Pair]) -> Iterator[Any]:
    for begin in range(0, len(pairs), _TOGETHER):
        yield from encoder.encode(pairs[begin : begin + _TOGETHER])


def _read(
    encoder: LimitedEncoder, query: npt.NDArray[Any], documents: npt.NDArray[Any], most: int | None
) -> list[Pair] | ValueError:
    if not documents.size:
        return ValueError(f"{DOCUMENTS}: 0 documents, a query needs at least 1; send the texts to rank")
    queries, count = documents.shape
    if most is not None and documents.size > most:
        all_of_them = (
            f"{count} documents" if queries == 1 else f"{queries} queries with {count} documents each"
        )
        return ValueError(
            f"{DOCUMENTS}: {all_of_them}, a request may have {most} in all; send them in several requests"
        )
    try:
        first = read_texts(QUERY, "row", query, encoder.lower_case)
        second = read_texts(DOCUMENTS, "document", documents, encoder.lower_case)
    except ValueError as error:
        return error
    return [(first[number // count], text) for number, text in enumerate(second)]


def _arrays(encoder: LimitedEncoder, encodings: list[Any], shape: tuple[int, ...]) -> Arrays | ValueError:
    try:
        for number, encoding in enumerate(encodings):
            encoder.require(encoding, _place(number, shape))
    except ValueError as error:
        return error
    ids, widths = together([encoding.ids for encoding in encodings], encoder.pad_id)
    tokens = np.array([len(encoding) for encoding in encodings], dtype=np.int32)
    first = np.array([_first(encoder, encoding) for encoding in encodings], dtype=np.int32)
    queries, count = shape
    return Arrays(
        ids,
        np.stack([tokens, widths, first], axis=1),
        extent(len(encodings), int(tokens.max(initial=0))),
        np.repeat(np.arange(queries, dtype=np.int32), count)[:, None],
    )


def _place(number: int, shape: tuple[int, ...]) -> str:
    queries, count = shape
    row = "" if queries == 1 else f"row {number // count + 1} of {queries}, "
    return f"{row}query with document {number % count + 1} of {count}"


def _first(encoder: LimitedEncoder, encoding: Any) -> int:
    types = encoding.type_ids if encoder.tells_types else ()
    return next((index for index, kind in enumerate(types) if kind), len(encoding))
