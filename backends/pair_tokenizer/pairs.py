"""The query and the documents of many requests to the pairs of ids of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backends.batches import extent, padded
from backends.text.elements import read_texts
from backends.text.limits import LimitedEncoder

QUERY, DOCUMENTS = "query", "documents"

Pair = tuple[str, str]


class Arrays(NamedTuple):
    """A request of b queries with n documents each; all are int32.

    `input_ids` [b,W] has the ids of a query's n pairs one after the other, filled up at the end; `extent`
    [b,m] at least as many elements as the longest pair has tokens. The others are [b,n]: `tokens` of each
    pair; `widths`, which are the same but for the last pair of a query, whose width holds the padding of its
    row too; `first_tokens`, how many of the tokens have type 0 before the first that has another, all of
    them in families that have only one type.
    """

    input_ids: npt.NDArray[np.int32]
    tokens: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]
    first_tokens: npt.NDArray[np.int32]
    extent: npt.NDArray[np.int32]


def answer(
    encoder: LimitedEncoder,
    requests: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    most: int | None = None,
) -> list[Arrays | ValueError]:
    """Return for each request, `query` bytes [b,1] and `documents` bytes [b,n], its arrays or its refusal.

    `most` is how many documents a query may have, None for any number.
    """
    read = [_read(encoder, query, documents, most) for query, documents in requests]
    every = [pair for part in read if isinstance(part, list) for pair in part]
    encodings = iter(encoder.encode(every))
    return [
        part
        if isinstance(part, ValueError)
        else _arrays(encoder, [next(encodings) for _ in part], documents.shape)
        for part, (_, documents) in zip(read, requests, strict=True)
    ]


def _read(
    encoder: LimitedEncoder, query: npt.NDArray[Any], documents: npt.NDArray[Any], most: int | None
) -> list[Pair] | ValueError:
    if not documents.size:
        return ValueError(f"{DOCUMENTS}: 0 documents, a query needs at least 1; send the texts to rank")
    count = documents.shape[1]
    if most is not None and count > most:
        return ValueError(
            f"{DOCUMENTS}: {count} documents, a query may have {most}; send them in several requests"
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
    queries, count = shape
    rows = [
        [one for encoding in encodings[query * count : (query + 1) * count] for one in encoding.ids]
        for query in range(queries)
    ]
    ids = padded(rows, encoder.pad_id)
    tokens = np.array([len(encoding) for encoding in encodings], dtype=np.int32).reshape(shape)
    widths = tokens.copy()
    widths[:, -1] += ids.shape[1] - tokens.sum(axis=1, dtype=np.int32)
    first = np.array([_first(encoder, encoding) for encoding in encodings], dtype=np.int32).reshape(shape)
    return Arrays(ids, tokens, widths, first, extent(queries, int(tokens.max(initial=0))))


def _place(number: int, shape: tuple[int, ...]) -> str:
    queries, count = shape
    row = "" if queries == 1 else f"row {number // count + 1} of {queries}, "
    return f"{row}query with document {number % count + 1} of {count}"


def _first(encoder: LimitedEncoder, encoding: Any) -> int:
    types = encoding.type_ids if encoder.tells_types else ()
    return next((index for index, kind in enumerate(types) if kind), len(encoding))
