"""Llama 1 to 3.x, and what shares its graph: SmolLM2, Yi, TinyLlama, ..."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import decoder
from builder.architecture import Dimensions

HUGGING_FACE_CLASS: str = "LlamaForCausalLM"
PIPELINES: tuple[str, ...] = ("text_generation",)
EXPORTER: str = ""

HUGGING_FACE: Mapping[str, str] = {
    **decoder.HUGGING_FACE,
    **decoder.HUGGING_FACE_ATTENTION_BIAS,
    **decoder.HUGGING_FACE_OUTPUT_BIAS,
    **decoder.HUGGING_FACE_MLP_BIAS,
}
GGUF: Mapping[str, str] = {
    **decoder.GGUF,
    **decoder.GGUF_ATTENTION_BIAS,
    **decoder.GGUF_OUTPUT_BIAS,
    **decoder.GGUF_MLP_BIAS,
}
GGUF_PERMUTED: frozenset[str] = frozenset({"query", "key", "query_bias", "key_bias"})


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Read the dimensions; key-value heads default to the query heads, as in Llama 1 and 2."""
    attention_bias = bool(config.get("attention_bias", False))
    return decoder.read_dimensions(
        config,
        attention_bias=attention_bias,
        output_bias=attention_bias,
        mlp_bias=bool(config.get("mlp_bias", False)),
    )
