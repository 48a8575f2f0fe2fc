"""Texts: real ones, and ids at random of every length from one token to the most."""

from __future__ import annotations

import functools
import json
import random
import tomllib
from collections.abc import Sequence
from typing import Any

import numpy as np

from builder import house
from builder.proving.sample import Array, Asked, Case, Samples, lengths, plain, transformers_reference

LAYOUTS = ("without padding", "with padding")
_SPARE = 3
"""Columns of padding that even the longest row gets, as it may within a larger request."""
_ASKED = 48


def reference(asked: Asked) -> str:
    """Return the version of transformers, which answers for the source."""
    return transformers_reference()


def samples(asked: Asked) -> Samples:
    """Return real texts tokenised by transformers and random ids, with the source's answers."""
    from transformers import AutoTokenizer

    original = house.plugin("proving.originals", asked.exporter, option="exporter")
    answer = original.load(asked.source, asked.pipeline)
    tokenizer = AutoTokenizer.from_pretrained(asked.source)
    read = [(text, list(tokenizer(text)["input_ids"])) for text in texts()]
    real = [Case(text, ids, answer(ids, None)) for text, ids in read if 0 < len(ids) <= asked.most]
    chance = random.Random(0)
    cases = [
        Case(f"{length} tokens at random", ids, answer(ids, None))
        for length in lengths(asked.most)
        for ids in [[chance.randrange(len(tokenizer)) for _ in range(length)]]
    ]
    entities = _entities(asked) if asked.pipeline == "token_classification" else None
    asks = [_ask(asked, case, entities) for case in real[:_ASKED]]
    return Samples([*real, *cases], asks, _refused(asked), real if asked.pipeline == "embedding" else ())


def feeds(cases: Sequence[Case], layout: str) -> dict[str, Array]:
    """Return ids [ids] with what fills rows up, the sizes, and rows [rows, 2]: tokens and width."""
    widest = max(len(case.given) for case in cases) + _SPARE
    widths = [widest if layout == "with padding" else len(case.given) for case in cases]
    ids = [[*case.given, *[0] * (width - len(case.given))] for case, width in zip(cases, widths, strict=True)]
    return {
        "input_ids": np.concatenate(ids).astype(np.int32),
        **sizes([len(case.given) for case in cases], layout),
        "rows": np.array(
            [[len(case.given), width] for case, width in zip(cases, widths, strict=True)], np.int32
        ),
    }


def sizes(tokens: Sequence[int], layout: str) -> dict[str, Array]:
    """Return extent [ids] and places [longest]; with padding the longest is more, as it may be in Triton."""
    spare = _SPARE if layout == "with padding" else 0
    return {
        "extent": np.zeros(sum(tokens) + spare, np.int32),
        "places": np.zeros(max(tokens) + spare, np.int32),
    }


def split(output: Array, cases: Sequence[Case]) -> list[Array]:
    """Return each row; of an output per token only the row's own tokens."""
    if output.ndim == 3:
        return [row[: len(case.given)] for row, case in zip(output, cases, strict=True)]
    return list(output)


@functools.cache
def texts() -> tuple[str, ...]:
    """Return the shipped texts: many lengths, several languages, groups of like meaning."""
    table = tomllib.loads((house.folder("data") / "texts.toml").read_text(encoding="utf-8"))
    return tuple(table["texts"])


def _ask(asked: Asked, case: Case, entities: Any) -> dict[str, Any]:
    outputs: dict[str, Any] = {"num_input_tokens": [len(case.given)]}
    if entities is not None:
        outputs["entities"] = [json.dumps(_readable(entities(case.id), case.id))]
    else:
        outputs[asked.main] = plain(case.expected)
    if asked.pipeline == "classification":
        outputs |= best_label(case.expected, asked.labels)
    return {"id": case.id[:40], "inputs": {"text_input": [case.id]}, "outputs": outputs}


def best_label(scores: Array, labels: Sequence[str]) -> dict[str, list[str]]:
    """Return the best label where no rounding can choose another, else nothing."""
    second, first = np.sort(scores)[-2:] if len(scores) > 1 else (0.0, 1.0)
    return {"label": [labels[int(scores.argmax())]]} if first - second > 0.02 else {}


def _entities(asked: Asked) -> Any:
    from transformers import pipeline

    return pipeline("token-classification", model=str(asked.source), aggregation_strategy="simple")


def _readable(found: Sequence[Any], text: str) -> list[dict[str, Any]]:
    return [
        {
            "entity": one["entity_group"],
            "score": round(float(one["score"]), 6),
            "start": int(one["start"]),
            "end": int(one["end"]),
            "text": text[one["start"] : one["end"]],
        }
        for one in found
    ]


def _refused(asked: Asked) -> list[dict[str, Any]]:
    long = "word " * (asked.most + 8)
    too_long = {
        "id": "a text that is too long",
        "inputs": {"text_input": [long]},
        "mentions": [str(asked.most)],
    }
    return [] if asked.truncates else [too_long]
