"""What a model family states about itself: dimensions, and the names of its tensors by role."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeGuard, cast

from builder import house, weights
from builder.errors import SourceError
from builder.weights import Shape, Weight


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
        layer = attention + self.feed_forward_parameters + 2 * self.hidden_size
        embedding = self.vocabulary_size * self.hidden_size
        heads = 1 if self.tied_embeddings else 2
        return self.layers * layer + heads * embedding + self.hidden_size

    @property
    def feed_forward_parameters(self) -> int:
        """Return the number of weights of one layer's feed-forward network."""
        biases = 2 * self.intermediate_size + self.hidden_size if self.mlp_bias else 0
        return 3 * self.hidden_size * self.intermediate_size + biases


@dataclass(frozen=True)
class MixtureDimensions(Dimensions):
    """The same of a decoder with several feed-forward networks in each layer, of which a token takes some.

    `intermediate_size` is that of one expert.
    """

    experts: int = 1
    experts_per_token: int = 1

    @property
    def feed_forward_parameters(self) -> int:
        """Return the number of weights of all experts of a layer, and of what chooses among them."""
        return self.experts * (super().feed_forward_parameters + self.hidden_size)


@dataclass(frozen=True)
class EncoderDimensions:
    """The numbers that decide memory and shapes of a transformer that reads a whole text at once.

    All are counts; `context_length` is the most tokens a text may have, `parameters` every weight that the
    pipeline of the config's class uses, its head included. `score_tables` counts the tensors of heads x
    tokens^2 that attention keeps at once, `gated` says that the feed-forward network multiplies two halves.
    """

    vocabulary_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    context_length: int
    parameters: int
    score_tables: int = 2
    gated: bool = False

    @property
    def table_parameters(self) -> int:
        """Return how many of the weights are looked up, not multiplied with: one row for each known token."""
        return self.vocabulary_size * self.hidden_size

    def activation_elements(self, tokens: int) -> int:
        """Return how many numbers are alive at the widest point of one text of so many tokens.

        Attention holds the layer's input, query, key and value, 4 x tokens x hidden, and its scores with
        their softmax, 2 x heads x tokens^2; the feed-forward network holds its input and the intermediate
        values before and after the activation, tokens x (hidden + 2 x intermediate), a gated one a third
        time. The wider of the two decides.
        """
        copies = 3 if self.gated else 2
        feed_forward = tokens * (self.hidden_size + copies * self.intermediate_size)
        return max(4 * tokens * self.hidden_size + self.score_tables * self.heads * tokens**2, feed_forward)


@dataclass(frozen=True)
class VisionDimensions:
    """The numbers that decide memory and shapes of an image classifier.

    `image_size` is (height, width) in pixels, `channels` its colours; `layers` counts blocks of all
    stages; `hidden_size` is what the head reads; `parameters` every weight, the head's included;
    `widest` the numbers alive at the widest point of one image.
    """

    image_size: tuple[int, int]
    channels: int
    hidden_size: int
    layers: int
    parameters: int
    widest: int
    table_parameters: ClassVar[int] = 0

    @property
    def context_length(self) -> int:
        """Return 1: an image is no sequence of tokens to whoever sends it."""
        return 1

    def activation_elements(self, tokens: int) -> int:
        """Return how many numbers are alive at the widest point of one image; `tokens` has no meaning."""
        return self.widest


AnyDimensions = Dimensions | EncoderDimensions | VisionDimensions


class Architecture(Protocol):
    """What each file in `architectures/` offers; the file is named by the `model_type`, with _ for -."""

    HUGGING_FACE_CLASS: str
    """The usual `architectures[0]` of config.json, such as `LlamaForCausalLM` or `BertModel`."""

    PIPELINES: tuple[str, ...]
    """The files of `ensembles/` that a model of the family can serve."""

    EXPORTER: str
    """The file of `exporting/` that writes its graph; empty where a target brings a converter."""

    def dimensions(self, config: Mapping[str, Any]) -> AnyDimensions:
        """Read the dimensions from a Hugging Face config; raise SourceError naming what is missing."""
        ...


class Decoder(Architecture, Protocol):
    """A family that generates text."""

    HUGGING_FACE: Mapping[str, str]
    """Role -> tensor name in a Hugging Face checkpoint; `{layer}` and `{expert}` stand for their numbers."""

    GGUF: Mapping[str, str]
    """Role -> tensor name in a GGUF file; the same roles, or none where no GGUF of the family is read."""

    GGUF_PERMUTED: frozenset[str]
    """Roles whose rows llama.cpp reorders for its rotary embedding (query and key of llama)."""

    def dimensions(self, config: Mapping[str, Any]) -> Dimensions: ...


class SinglePass(Architecture, Protocol):
    """A family that answers after one pass over its input."""

    PREFIX: str
    """What stands before the body's tensors, with a dot between, in a checkpoint that has a head."""

    def weights(self, config: Mapping[str, Any]) -> tuple[Weight, ...]:
        """Return every weight that a checkpoint of this config must hold."""
        ...

    def dimensions(self, config: Mapping[str, Any]) -> EncoderDimensions | VisionDimensions: ...


class Vision(SinglePass, Protocol):
    """A family that looks at images."""

    IMAGE_PROCESSOR: str
    """transformers' class that prepares images where a checkpoint names none."""


def names() -> list[str]:
    """Return the names of the files in `architectures/`: model types, with _ for -."""
    return house.plugin_names("architectures")


def load(model_type: str) -> Architecture:
    """Return the architecture of a `model_type`; raise SourceError listing those that exist."""
    known = names()
    name = model_type.replace("-", "_")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise SourceError(
            f"model_type {model_type!r} has no file in builder/architectures/",
            expected=f"one of {_listed(known)}",
            remedy=f"did you mean {near[0]!r}?" if near else "use a checkpoint of one of these families",
        )
    return cast(Architecture, importlib.import_module(f"builder.architectures.{name}"))


def generates_text(family: Architecture) -> bool:
    """Say whether a family is a `Decoder`; every other is a `SinglePass`."""
    return "text_generation" in family.PIPELINES


def _listed(known: Iterable[str]) -> str:
    # by what they are for: one long list hides that a family exists for another kind of model
    families = [(name, load(name)) for name in known]
    decoders = [name for name, family in families if generates_text(family)]
    others = [name for name, family in families if not generates_text(family)]
    return f"{', '.join(decoders)}; for one pass: {', '.join(others)}"


def require_fields(config: Mapping[str, Any], fields: Iterable[str], *, where: str = "config.json") -> None:
    """Raise SourceError naming every field that is absent or null."""
    missing = [name for name in fields if config.get(name) is None]
    if missing:
        raise SourceError(
            f"{where} lacks {', '.join(missing)}",
            expected="every field that decides the model's shape",
            remedy="take config.json from the model's own repository again",
        )


def count(config: Mapping[str, Any], name: str, default: int | None = None, *, least: int = 1) -> int:
    """Return a whole number of a config; raise SourceError where it is none, or below `least`."""
    value = config.get(name)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SourceError(
            f"config.json: {name} is {value!r}",
            expected=f"a whole number of at least {least}",
            remedy="take config.json from the model's own repository again",
        )
    return value


def expected_tensors(
    family: Architecture, config: Mapping[str, Any], format: str, held: Iterable[str]
) -> dict[str, Shape | None]:
    """Return tensor name -> shape of all that a checkpoint must hold; None where a shape is not stated.

    Args:
        family: the architecture of the config's `model_type`.
        config: a Hugging Face config, or one translated from GGUF.
        format: `gguf`, or any other for Hugging Face's names.
        held: the names that the checkpoint has, which tell one spelling of an encoder from another.

    Raises:
        SourceError: a GGUF of a family that is not read from one.
    """
    if generates_text(family):
        decoder = cast(Decoder, family)
        names = decoder.GGUF if format == "gguf" else decoder.HUGGING_FACE
        sizes = decoder.dimensions(config)
        by_role = _shapes(sizes)
        return {name: by_role.get(role) for role, _, name in tensor_names(names, sizes)}
    if format == "gguf":
        raise SourceError(
            f"a GGUF file of a {config.get('model_type')}",
            expected="safetensors: only models that generate text are read from GGUF",
            remedy="pass the Hugging Face checkpoint of this model instead",
        )
    single = cast(SinglePass, family)
    return {**weights.shapes(single.weights(config), single.PREFIX, held)}


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
        experts = dimensions.experts if _is_mixture(dimensions) else 1
        for layer in range(dimensions.layers):
            # a name without {expert} is the same for each of them
            yield from ((role, layer, one) for one in _of_experts(name, layer, experts))


def _of_experts(name: str, layer: int, experts: int) -> dict[str, None]:
    return dict.fromkeys(name.format(layer=layer, expert=expert) for expert in range(experts))


def linear_layers(dimensions: Dimensions) -> dict[str, tuple[int, int]]:
    """Return role -> (out, in) of the matrices of one layer of a decoder."""
    hidden, middle = dimensions.hidden_size, dimensions.intermediate_size
    query = dimensions.heads * dimensions.head_size
    shared = dimensions.key_value_heads * dimensions.head_size
    return {
        "query": (query, hidden),
        "key": (shared, hidden),
        "value": (shared, hidden),
        "attention_output": (hidden, query),
        "gate": (middle, hidden),
        "up": (middle, hidden),
        "down": (hidden, middle),
    }


def _is_mixture(dimensions: Dimensions) -> TypeGuard[MixtureDimensions]:
    return isinstance(dimensions, MixtureDimensions)


def _shapes(dimensions: Dimensions) -> dict[str, Shape]:
    """Return role -> shape of every weight that a decoder of these dimensions may have."""
    matrices = linear_layers(dimensions)
    hidden, head = (dimensions.hidden_size,), (dimensions.head_size,)
    table = (dimensions.vocabulary_size, dimensions.hidden_size)
    norms = dict.fromkeys(("input_norm", "post_attention_norm", "final_norm"), hidden)
    return {
        **matrices,
        **{f"{role}_bias": (out,) for role, (out, _) in matrices.items()},
        **{f"expert_{role}": matrices[role] for role in ("gate", "up", "down")},
        **({"router": (dimensions.experts, dimensions.hidden_size)} if _is_mixture(dimensions) else {}),
        **norms,
        **dict.fromkeys(("query_norm", "key_norm"), head),
        **dict.fromkeys(("embedding", "head"), table),
    }


def _absent_roles(dimensions: Dimensions) -> set[str]:
    switched = {
        ("head",): not dimensions.tied_embeddings,
        ("query_bias", "key_bias", "value_bias"): dimensions.attention_bias,
        ("attention_output_bias",): dimensions.output_bias,
        ("gate_bias", "up_bias", "down_bias"): dimensions.mlp_bias,
        ("query_norm", "key_norm"): dimensions.query_key_norm,
    }
    return {role for roles, present in switched.items() if not present for role in roles}
