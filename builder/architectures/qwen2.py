"""Qwen 2 and 2.5: query, key and value always carry a bias, the output projection never."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import decoder
from builder.architecture import Dimensions

HUGGING_FACE_CLASS: str = "Qwen2ForCausalLM"
PIPELINES: tuple[str, ...] = ("text_generation",)
EXPORTER: str = ""

HUGGING_FACE: Mapping[str, str] = {**decoder.HUGGING_FACE, **decoder.HUGGING_FACE_ATTENTION_BIAS}
GGUF: Mapping[str, str] = {**decoder.GGUF, **decoder.GGUF_ATTENTION_BIAS}
GGUF_PERMUTED: frozenset[str] = frozenset()


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Read the dimensions; the window counts only where `use_sliding_window` says so."""
    return decoder.read_dimensions(
        config,
        require=(*decoder.REQUIRED, "num_key_value_heads"),
        attention_bias=True,
        sliding_window=decoder.switched_window(config),
    )
