"""Rotary scalings that TensorRT-LLM's decoders compute as the model was trained, and what they are told.

Its Attention reads `rotary_scaling` of config.json (1.2, layers/attention.py, create_attention_const_params).
Fields that it has not it takes defaults for, which are not transformers'; so all that counts is written out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from builder.errors import SourceError

SCALINGS: Mapping[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
}
"""Kind -> the numbers that it is made of."""

REFUSED = {
    "longrope": "its factors are read for position embeddings of their own alone, which these decoders lack",
    "dynamic": "it reads an `alpha`, which Hugging Face's has not",
}
"""Kind -> why TensorRT-LLM, which knows the name, does not compute it."""

TRAINED = "original_max_position_embeddings"
_OTHER = ("rope_theta", "type")
ELSEWHERE = "run it by another target: --target vllm, or llmapi"


def scaling(config: Mapping[str, Any], context: int) -> dict[str, Any] | None:
    """Return the scaling as config.json is to say it, None for none.

    Args:
        config: Hugging Face's.
        context: how many positions the model has.

    Raises:
        SourceError: one that TensorRT-LLM has not, computes otherwise, or that lacks a number.
    """
    # transformers 5 keeps the base beside the scaling, and writes that there is none
    found = config.get("rope_scaling") or config.get("rope_parameters")
    if not found:
        return None
    if not isinstance(found, Mapping):
        raise SourceError(f"config.json: rope_scaling is {found!r}", expected="an object, or null")
    kind = found.get("rope_type") or found.get("type") or "default"
    if kind == "default":
        return None
    if not isinstance(kind, str) or kind not in SCALINGS:
        reason = f": {REFUSED[kind]}" if isinstance(kind, str) and kind in REFUSED else ""
        raise SourceError(
            f"config.json: rope_scaling is of type {kind!r}{reason}",
            expected=f"one of {', '.join(SCALINGS)}, which TensorRT-LLM's engines compute",
            remedy=ELSEWHERE,
        )
    # of `type` and `rope_type` the two libraries prefer another each
    told = {name: value for name, value in found.items() if value is not None and name not in _OTHER}
    told["rope_type"] = kind
    if TRAINED in SCALINGS[kind]:
        # as transformers does: the model's own first, else all positions there are
        told[TRAINED] = config.get(TRAINED) or told.get(TRAINED) or context
    _require_numbers(kind, told)
    for name, value in _ignored(kind, told):
        raise SourceError(
            f"config.json: rope_scaling of type {kind!r} has {name} {value!r}",
            expected="none, or what follows from its factor: TensorRT-LLM's engines do not compute it so",
            remedy=ELSEWHERE,
        )
    return told


def _require_numbers(kind: str, told: Mapping[str, Any]) -> None:
    for name in SCALINGS[kind]:
        value = told.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise SourceError(
                f"config.json: rope_scaling of type {kind!r} has {name} {value!r}",
                expected="a number above 0",
                remedy="take config.json from the model's own repository again",
            )


def _ignored(kind: str, told: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields by which transformers computes another thing than TensorRT-LLM."""
    if told.get("partial_rotary_factor", 1) != 1:
        yield "partial_rotary_factor", told["partial_rotary_factor"]
    if kind != "yarn":
        return
    # transformers takes the last two together or not at all, and may not round the range
    usual = {"mscale": 1, "mscale_all_dim": 0, "truncate": True}
    yield from ((name, told[name]) for name, value in usual.items() if told.get(name, value) != value)
    usually = _usual_scale(told["factor"])
    scale = told.get("attention_factor", usually)
    if not isinstance(scale, int | float) or not math.isclose(scale, usually, rel_tol=1e-6):
        yield "attention_factor", scale


def _usual_scale(factor: float) -> float:
    """Return what yarn multiplies cosines and sines by, where nothing else is said."""
    return 0.1 * math.log(factor) + 1 if factor > 1 else 1.0
