"""Mistral 7B, Nemo and Small: Llama's graph without biases, with a sliding window in the first release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import decoder
from builder.architecture import Dimensions
from builder.errors import SourceError

HUGGING_FACE_CLASS: str = "MistralForCausalLM"
PIPELINES: tuple[str, ...] = ("text_generation",)
EXPORTER: str = ""

HUGGING_FACE: Mapping[str, str] = decoder.HUGGING_FACE
GGUF: Mapping[str, str] = decoder.GGUF
GGUF_PERMUTED: frozenset[str] = frozenset({"query", "key"})

DEFAULT_WINDOW = 4096
"""What transformers takes when the field is absent; null switches the window off."""


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Read the dimensions, with the window in tokens."""
    window = config.get("sliding_window", DEFAULT_WINDOW)
    if window is not None and (isinstance(window, bool) or not isinstance(window, int) or window < 1):
        raise SourceError(
            f"config.json: sliding_window is {window!r}",
            expected="a whole number above 0, or null",
            remedy="take config.json from the model's own repository again",
        )
    return decoder.read_dimensions(
        config, require=(*decoder.REQUIRED, "num_key_value_heads"), sliding_window=window
    )
