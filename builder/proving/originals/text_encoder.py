"""The source of a text encoder: transformers in float32, one text at a time, without padding.

Pooling and scores are written here once more, in plain numpy, so that a mistake in the exporter's shows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builder import pooling

Array = NDArray[np.float64]
Answer = Callable[[Sequence[int], int | None], Array]

_CLASSES = {
    "embedding": "AutoModel",
    "classification": "AutoModelForSequenceClassification",
    "reranking": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
}


def load(folder: Path, pipeline: str) -> Answer:
    """Return what answers the ids of one text, or of a pair whose first text has so many places.

    The answer is a vector [size], scores [labels], the score of a pair [1], or the scores of every token
    [tokens, labels].
    """
    import torch
    import transformers

    model = getattr(transformers, _CLASSES[pipeline]).from_pretrained(folder, dtype=torch.float32).eval()
    takes = inspect.signature(model.forward).parameters
    has_segments = "token_type_ids" in takes and (getattr(model.config, "type_vocab_size", 0) or 0) > 1
    modules = pooling.read(folder) if pipeline == "embedding" else None

    def answer(ids: Sequence[int], first_tokens: int | None = None) -> Array:
        given = {"input_ids": torch.tensor([list(ids)])}
        if has_segments:
            first = len(ids) if first_tokens is None else first_tokens
            given["token_type_ids"] = torch.tensor([[0] * first + [1] * (len(ids) - first)])
        with torch.inference_mode():
            output = model(**given)
        if pipeline == "embedding":
            return embedding(output.last_hidden_state[0].double().numpy(), modules)
        return scores(output.logits[0].double().numpy(), pipeline, model.config)

    return answer


def embedding(hidden: Array, modules: pooling.Pooling | None) -> Array:
    """Return the vector of a text of hidden states [tokens, size]; without modules the mean at length one."""
    if modules is None:
        return unit(hidden.mean(axis=0))
    vector = np.concatenate([pooled(hidden, mode) for mode in modules.modes])
    for layer in modules.dense:
        vector = dense(vector, layer)
    return unit(vector) if modules.normalized else vector


def pooled(hidden: Array, mode: str) -> Array:
    """Return one vector of hidden states [tokens, size], by the names of `pooling.MODES`."""
    tokens = len(hidden)
    places = np.arange(1, tokens + 1)
    ways: dict[str, Callable[[], Any]] = {
        "cls": lambda: hidden[0],
        "last": lambda: hidden[tokens - 1],
        "max": lambda: hidden.max(axis=0),
        "mean": lambda: hidden.sum(axis=0) / tokens,
        "mean_sqrt_len": lambda: hidden.sum(axis=0) / tokens**0.5,
        "weighted_mean": lambda: places @ hidden / places.sum(),
    }
    return np.asarray(ways[mode]())


def dense(vector: Array, layer: pooling.Dense) -> Array:
    """Return activation(weight x vector + bias)."""
    import torch
    from safetensors.numpy import load_file

    weights = load_file(layer.path / "model.safetensors")
    product = weights["linear.weight"].astype(np.float64) @ vector + weights.get("linear.bias", 0.0)
    return np.asarray(getattr(torch.nn, layer.activation)()(torch.from_numpy(product)))


def unit(vector: Array) -> Array:
    """Return the vector at length one; one of nothing but zeros stays."""
    return np.asarray(vector / max(float(np.sqrt((vector**2).sum())), 1e-12))


def scores(logits: Array, pipeline: str, config: Any) -> Array:
    """Return probabilities of logits [..., labels], or the logits of a cross-encoder that wants them so."""
    if pipeline == "reranking" and _is_unbounded(config):
        return logits
    of_each = logits.shape[-1] == 1 or config.problem_type == "multi_label_classification"
    if of_each and pipeline != "token_classification":
        return np.asarray(1 / (1 + np.exp(-logits)))
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _is_unbounded(config: Any) -> bool:
    written = config.to_dict()
    activation = (written.get("sentence_transformers") or {}).get("activation_fn")
    return "Identity" in str(activation or written.get("sbert_ce_default_activation_function") or "")
