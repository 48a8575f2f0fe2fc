"""Pairs of texts: a query with documents, and ids at random of every length from two tokens to the most."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from builder import house
from builder.proving.sample import Array, Asked, Case, Samples, lengths, plain, transformers_reference
from builder.proving.samples.texts import sizes, texts

LAYOUTS = ("without padding", "with padding")
_SPARE = 3
_QUERIES = (
    "Which city is the capital of Japan?",
    "How are plants fed?",
    "How can I choose a new password?",
    "When is the museum closed?",
)


def reference(asked: Asked) -> str:
    """Return the version of transformers, which answers for the source."""
    return transformers_reference()


def samples(asked: Asked) -> Samples:
    """Return every query with real texts, and random ids, with the source's scores."""
    from transformers import AutoTokenizer

    answer = house.plugin("proving.originals", asked.exporter, option="exporter").load(
        asked.source, asked.pipeline
    )
    tokenizer = AutoTokenizer.from_pretrained(asked.source)
    cases, asks = [], []
    # each pair is a row of a batch
    most = asked.max_batch_size
    for query in _QUERIES:
        read = [(text, _pair(tokenizer, query, text)) for text in texts()]
        fitting = [(text, pair) for text, pair in read if len(pair[0]) <= asked.most]
        found = [Case(f"{query} {text}", pair, np.atleast_1d(answer(*pair))) for text, pair in fitting]
        cases += found
        asks.append(
            {
                "id": query,
                "inputs": {"query": [query], "documents": [text for text, _ in fitting[:most]]},
                "outputs": {"scores": [plain(case.expected)[0] for case in found[:most]]},
            }
        )
    chance = random.Random(0)
    for length in lengths(asked.most)[1:]:
        ids = [chance.randrange(len(tokenizer)) for _ in range(length)]
        first = chance.randrange(1, length)
        cases.append(Case(f"{length} tokens at random", (ids, first), np.atleast_1d(answer(ids, first))))
    return Samples(cases, asks, _refused(asked))


def feeds(cases: Sequence[Case], layout: str) -> dict[str, Array]:
    """Return ids [ids] of all pairs, sizes, and rows [rows, 3]: tokens, width, tokens of the first text."""
    spare = _SPARE if layout == "with padding" else 0
    ids = [[*case.given[0], *[0] * spare] for case in cases]
    return {
        "input_ids": np.concatenate(ids).astype(np.int32),
        **sizes([len(case.given[0]) for case in cases], layout),
        "rows": np.array(
            [[len(case.given[0]), len(row), case.given[1]] for case, row in zip(cases, ids, strict=True)],
            np.int32,
        ),
    }


def split(output: Array, cases: Sequence[Case]) -> list[Array]:
    """Return the score of each pair."""
    return [np.atleast_1d(score) for score in output]


def _pair(tokenizer: Any, query: str, document: str) -> tuple[list[int], int]:
    """Return the ids of a pair and how many places the first text has; all where the family marks none.

    transformers 5 tells types by itself only where the checkpoint or its tokenizer's class names them.
    """
    named = tokenizer.init_kwargs.get("model_input_names") or ["token_type_ids"]
    read = tokenizer(query, document, return_token_type_ids="token_type_ids" in named)
    ids = list(read["input_ids"])
    types = list(read.get("token_type_ids") or [0] * len(ids))
    return ids, types.index(1) if 1 in types else len(ids)


def _refused(asked: Asked) -> list[dict[str, Any]]:
    query, long = ["Which is too long?"], "word " * (asked.most + 8)
    none = {"id": "no document", "inputs": {"query": query, "documents": []}, "mentions": ["documents"]}
    too_long = {
        "id": "a document that is too long",
        "inputs": {"query": query, "documents": ["short", long]},
        "mentions": [str(asked.most)],
    }
    return [none] if asked.truncates else [none, too_long]
