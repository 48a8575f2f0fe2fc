"""Models without weights that answer in one pass: what an input gives is drawn by a hash of it.

Lies in a version folder where the artifact would be, and is deterministic, so that the tests know all
answers. Inputs and outputs are those of the pipelines of `ensembles/`.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

Arrays = dict[str, Any]

LABELS = ("calm", "glad", "grim")
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def drawn(seed: bytes, *shape: int) -> np.ndarray:
    """Return float64 numbers from 0 to 1 that only these bytes give."""
    return np.random.default_rng(zlib.crc32(seed)).random(shape)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return float32 probabilities over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


def _bytes(ids: Sequence[int]) -> bytes:
    return np.asarray(ids, dtype=np.int32).tobytes()


def text_scores(ids: Sequence[int]) -> np.ndarray:
    """Return the probability of each of LABELS for a text."""
    return softmax(4 * drawn(_bytes(ids), len(LABELS)))


def tag_scores(ids: Sequence[int]) -> np.ndarray:
    """Return the probabilities [tokens, TAGS] for a text."""
    return softmax(6 * drawn(_bytes(ids), len(ids), len(TAGS)))


def pair_score(ids: Sequence[int], first_tokens: int) -> np.float32:
    """Return how well a document suits a query, from -4 to 4."""
    return np.float32(8 * drawn(_bytes([*ids, first_tokens]), 1)[0] - 4)


def row_scores(age: float, visits: int, city: bytes) -> np.ndarray:
    """Return the probability of each of LABELS for a row of a table."""
    return softmax(4 * drawn(f"{float(age):.6g} {int(visits)} ".encode() + city, len(LABELS)))


def image_scores(data: bytes) -> np.ndarray:
    """Return the probability of each of LABELS for an image; raise ValueError for what is none."""
    if not data.startswith((b"IMAGE", b"BM")):
        raise ValueError("image: not a file of a format known here; send a file that begins with IMAGE")
    return softmax(4 * drawn(data, len(LABELS)))


def label_column(scores: np.ndarray) -> np.ndarray:
    """Return the best label of each row, STRING [rows, 1]."""
    return np.array([[LABELS[place].encode()] for place in scores.argmax(axis=1)], dtype=np.object_)


def texts(requests: Sequence[Arrays]) -> list[list[int]]:
    """Return the ids of every row of all requests, without what fills them up."""
    found = []
    for request in requests:
        flat, rows = request["input_ids"].reshape(-1), request["rows"]
        for begin, tokens in zip(np.cumsum(rows[:, 1]) - rows[:, 1], rows[:, 0], strict=True):
            found.append(flat[begin : begin + tokens].tolist())
    return found


def shared(requests: Sequence[Arrays], name: str, **outputs: np.ndarray) -> list[Arrays]:
    """Return each request's rows of outputs that hold all rows; `name` is an input with a row for each."""
    ends = np.cumsum([len(request[name]) for request in requests])[:-1]
    parts = {output: np.split(values, ends) for output, values in outputs.items()}
    return [{output: part[place] for output, part in parts.items()} for place in range(len(requests))]


def classification(requests: Sequence[Arrays]) -> list[Arrays]:
    """Return scores and label for input_ids and rows."""
    scores = np.stack([text_scores(ids) for ids in texts(requests)])
    return shared(requests, "rows", scores=scores, label=label_column(scores))


def token_classification(requests: Sequence[Arrays]) -> list[Arrays]:
    """Return token_scores for input_ids and rows, as wide as the longest text of all."""
    found = [tag_scores(ids) for ids in texts(requests)]
    scores = np.zeros((len(found), max(map(len, found)), len(TAGS)), dtype=np.float32)
    for row, values in enumerate(found):
        scores[row, : len(values)] = values
    return shared(requests, "rows", token_scores=scores)


def reranking(requests: Sequence[Arrays]) -> list[Arrays]:
    """Return scores for input_ids and rows."""
    firsts = [first for request in requests for first in request["rows"][:, 2]]
    scores = np.array([[pair_score(*pair)] for pair in zip(texts(requests), firsts, strict=True)])
    return shared(requests, "rows", scores=scores)


def tabular(requests: Sequence[Arrays]) -> list[Arrays]:
    """Return prediction and probabilities for the columns age, visits and city."""
    columns = [np.concatenate([request[name] for request in requests]) for name in ("age", "visits", "city")]
    scores = np.stack([row_scores(*row) for row in zip(*(column[:, 0] for column in columns), strict=True)])
    return shared(requests, "age", prediction=label_column(scores), probabilities=scores)


def image_classification(requests: Sequence[Arrays]) -> list[Arrays | ValueError]:
    """Return scores and label for image; what is no image is refused alone."""
    return [_image(request["image"]) for request in requests]


def _image(images: np.ndarray) -> Arrays | ValueError:
    try:
        scores = np.stack([image_scores(data) for data in images[:, 0]])
    except ValueError as error:
        return error
    return {"scores": scores, "label": label_column(scores)}


def tensors(requests: Sequence[Arrays]) -> list[Arrays]:
    """Return the norm y of each row of x, and how many there are; nothing is batched."""
    return [
        {
            "y": np.linalg.norm(request["x"], axis=1).astype(np.float32),
            "count": np.array([len(request["x"])], dtype=np.int64),
        }
        for request in requests
    ]
