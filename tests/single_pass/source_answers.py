"""What the source models say by themselves: transformers in float32, one input at a time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tiny_models


def _text_model(folder: Path, pipeline: str) -> tuple[Any, Any]:
    import torch
    import transformers

    kind = getattr(transformers, tiny_models.CLASSES[pipeline])
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    return transformers.PreTrainedTokenizerFast.from_pretrained(folder), model


def embedding(folder: Path, texts: Sequence[str]) -> Any:
    """Return the means of the hidden states at length one, float32 [texts, width]."""
    import torch

    tokenizer, model = _text_model(folder, "embedding")
    found = []
    for text in texts:
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        mean = hidden.mean(0)
        found.append((mean / mean.norm()).numpy())
    return np.stack(found)


def classification(folder: Path, texts: Sequence[str]) -> Any:
    """Return the probabilities of the labels, float32 [texts, labels]."""
    import torch

    tokenizer, model = _text_model(folder, "classification")
    with torch.no_grad():
        return np.stack(
            [model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1).numpy() for text in texts]
        )


def reranking(folder: Path, query: str, documents: Sequence[str]) -> Any:
    """Return how well each document fits the query, float32 [documents]."""
    import torch

    tokenizer, model = _text_model(folder, "reranking")
    found = []
    for document in documents:
        # in lists: an empty document by itself is taken for none
        pair = tokenizer([query], [document], return_tensors="pt")
        with torch.no_grad():
            found.append(float(model(**pair).logits[0, 0].sigmoid()))
    return np.array(found)


def entities(folder: Path, texts: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Return what transformers' own pipeline finds, in our words."""
    import transformers

    tokenizer, model = _text_model(folder, "token_classification")
    find = transformers.pipeline(
        "token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple", device="cpu"
    )
    return [
        [
            {
                "entity": one["entity_group"],
                "score": float(one["score"]),
                "start": one["start"],
                "end": one["end"],
                "text": text[one["start"] : one["end"]],
            }
            for one in find(text)
        ]
        for text in texts
    ]


def image_classification(folder: Path, files: Sequence[bytes]) -> Any:
    """Return the probabilities of the labels, float32 [files, labels]."""
    import torch
    import transformers
    from PIL import Image

    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = transformers.AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    for file in files:
        image = Image.open(io.BytesIO(file)).convert("RGB")
        pixels = processor(image, return_tensors="pt")
        with torch.no_grad():
            found.append(model(**pixels).logits[0].softmax(-1).numpy())
    return np.stack(found)


def tokens(folder: Path, text: str) -> int:
    """Return how many tokens a text has, those of the template included."""
    import transformers

    return len(transformers.PreTrainedTokenizerFast.from_pretrained(folder)(text).input_ids)
