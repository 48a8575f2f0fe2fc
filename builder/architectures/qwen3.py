"""Qwen 3 (dense): query and key are normalised per head, heads have their own size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import decoder
from builder.architecture import Dimensions

HUGGING_FACE_CLASS: str = "Qwen3ForCausalLM"
PIPELINES: tuple[str, ...] = ("text_generation",)
EXPORTER: str = ""

HUGGING_FACE: Mapping[str, str] = {
    **decoder.HUGGING_FACE,
    **decoder.HUGGING_FACE_QUERY_KEY_NORM,
    **decoder.HUGGING_FACE_ATTENTION_BIAS,
    **decoder.HUGGING_FACE_OUTPUT_BIAS,
}
GGUF: Mapping[str, str] = {
    **decoder.GGUF,
    **decoder.GGUF_QUERY_KEY_NORM,
    **decoder.GGUF_ATTENTION_BIAS,
    **decoder.GGUF_OUTPUT_BIAS,
}
GGUF_PERMUTED: frozenset[str] = frozenset()

DEFAULT_HEAD_SIZE = 128


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Read the dimensions; a head has 128 elements unless `head_dim` says otherwise."""
    attention_bias = bool(config.get("attention_bias", False))
    return decoder.read_dimensions(
        config,
        require=(*decoder.REQUIRED, "num_key_value_heads"),
        head_size=DEFAULT_HEAD_SIZE,
        attention_bias=attention_bias,
        output_bias=attention_bias,
        query_key_norm=True,
        sliding_window=decoder.switched_window(config),
    )
