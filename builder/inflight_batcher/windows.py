"""How many tokens back each layer sees: what Triton's backend is told of it, which the engine itself is not.

`max_attention_window_size` is one number for all layers, or one for each in turn (TensorRT-LLM 1.2,
docs/source/legacy/advanced/gpt-attention.md, sliding window attention).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from builder.errors import UsageError
from builder.ranks import family

NAME = "max_attention_window_size"


def planned(config: Mapping[str, Any], context: int) -> list[int]:
    """Return what the backend is told, [] for nothing: all layers see as far as a text is long.

    Args:
        config: Hugging Face's.
        context: the longest text, in tokens.
    """
    found = list(family.windows(config))
    return found if any(window < context for window in found) else []


def require(config: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    """Raise UsageError where layers would see other tokens than they were trained to.

    Args:
        config: Hugging Face's.
        told: the engine's arguments, with `max_seq_len`.
    """
    context, asked = told["max_seq_len"], list(told.get(NAME, ()))
    right, layers = planned(config, context), config["num_hidden_layers"]
    if asked and len(asked) not in (1, layers):
        raise UsageError(
            f"{NAME} is {asked}, {len(asked)} numbers for {layers} layers",
            expected="one number for all layers, or one for each",
            remedy=_remedy(right),
        )
    if _seen(asked, layers, context) != _seen(right, layers, context):
        sees = f"layers see {right} tokens back" if right else f"every layer sees all {context} tokens"
        raise UsageError(
            f"{NAME} is {asked or 'not told'}, and by config.json {sees}",
            expected=f"{right}" if right else f"nothing, or at least {context}",
            remedy=_remedy(right),
        )


def _seen(windows: Sequence[int], layers: int, context: int) -> list[int]:
    """Return how far each layer sees in the longest text."""
    every = list(windows) * layers if len(windows) == 1 else list(windows) or [context] * layers
    return [min(window, context) for window in every]


def _remedy(right: Sequence[int]) -> str:
    if not right:
        return f"leave --set engine.{NAME} out, or make the texts shorter with --max-context"
    return f"leave --set engine.{NAME} out: the plan tells it so"
