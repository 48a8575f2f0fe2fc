"""What a model family states about itself: dimensions, and the names of its tensors by role."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from builder import house
from builder.errors import SourceError


@dataclass(frozen=True)
class Dimensions:
    """The numbers that decide memory and shapes of a decoder-only transformer.

    All are counts except `rope_theta` (base of the rotary embedding) and `norm_epsilon`.
    `head_size` is in elements; `context_length` in tokens.
    """

    vocabulary_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    key_value_heads: int
    head_size: int
    context_length: int
    tied_embeddings: bool
    attention_bias: bool = False
    query_key_norm: bool = False
    rope_theta: float = 10000.0
    norm_epsilon: float = 1e-5
    sliding_window: int | None = None
    output_bias: bool = False
    mlp_bias: bool = False

    @property
    def parameters(self) -> int:
        """Return the number of weights: embeddings, every layer, final norm and head."""
        query = self.heads * self.head_size
        key_value = self.key_value_heads * self.head_size
        attention = self.hidden_size * (2 * query + 2 * key_value)
        if self.attention_bias:
            attention += query + 2 * key_value
        if self.output_bias:
            attention += self.hidden_size
        if self.query_key_norm:
            attention += 2 * self.head_size
        feed_forward = 3 * self.hidden_size * self.intermediate_size
        if self.mlp_bias:
            feed_forward += 2 * self.intermediate_size + self.hidden_size
        layer = attention + feed_forward + 2 * self.hidden_size
        embedding = self.vocabulary_size * self.hidden_size
        heads = 1 if self.tied_embeddings else 2
        return self.layers * layer + heads * embedding + self.hidden_size


class Architecture(Protocol):
    """What each file in `architectures/` offers; the file is named by the `model_type`."""

    HUGGING_FACE_CLASS: str
    """The `architectures[0]` of config.json, such as `LlamaForCausalLM`."""

    HUGGING_FACE: Mapping[str, str]
    """Role -> tensor name in a Hugging Face checkpoint; `{layer}` stands for the layer number."""

    GGUF: Mapping[str, str]
    """Role -> tensor name in a GGUF file; the same roles."""

    GGUF_PERMUTED: frozenset[str]
    """Roles whose rows llama.cpp reorders for its rotary embedding (query and key of llama)."""

    def dimensions(self, config: Mapping[str, Any]) -> Dimensions:
        """Read the dimensions from a Hugging Face config; raise SourceError naming what is missing."""
        ...


def names() -> list[str]:
    """Return the model types that have a file in `architectures/`."""
    return house.plugin_names("architectures")


def load(model_type: str) -> Architecture:
    """Return the architecture of a `model_type`; raise SourceError listing those that exist."""
    known = names()
    if model_type not in known:
        near = difflib.get_close_matches(model_type, known, n=1)
        raise SourceError(
            f"model_type {model_type!r} has no file in builder/architectures/",
            expected=f"one of {', '.join(known)}",
            remedy=f"did you mean {near[0]!r}?" if near else "use a checkpoint of one of these families",
        )
    return cast(Architecture, importlib.import_module(f"builder.architectures.{model_type}"))


def require_fields(config: Mapping[str, Any], fields: Iterable[str], *, where: str = "config.json") -> None:
    """Raise SourceError naming every field that is absent or null."""
    missing = [name for name in fields if config.get(name) is None]
    if missing:
        raise SourceError(
            f"{where} lacks {', '.join(missing)}",
            expected="every field that decides the model's shape",
            remedy="take config.json from the model's own repository again",
        )


def tensor_names(
    names_by_role: Mapping[str, str], dimensions: Dimensions
) -> Iterator[tuple[str, int | None, str]]:
    """Yield (role, layer or None, tensor name) of every weight a model of these dimensions has."""
    absent = _absent_roles(dimensions)
    for role, name in names_by_role.items():
        if role in absent:
            continue
        if "{layer}" not in name:
            yield role, None, name
            continue
        for layer in range(dimensions.layers):
            yield role, layer, name.format(layer=layer)


def _absent_roles(dimensions: Dimensions) -> set[str]:
    switched = {
        ("head",): not dimensions.tied_embeddings,
        ("query_bias", "key_bias", "value_bias"): dimensions.attention_bias,
        ("attention_output_bias",): dimensions.output_bias,
        ("gate_bias", "up_bias", "down_bias"): dimensions.mlp_bias,
        ("query_norm", "key_norm"): dimensions.query_key_norm,
    }
    return {role for roles, present in switched.items() if not present for role in roles}
