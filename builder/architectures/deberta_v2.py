"""DeBERTa v2 and v3: attention between contents and relative positions (https://arxiv.org/abs/2006.03654)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import encoder
from builder.architecture import EncoderDimensions, count
from builder.weights import Weight

HUGGING_FACE_CLASS: str = "DebertaV2Model"
PIPELINES: tuple[str, ...] = encoder.PIPELINES
EXPORTER: str = encoder.EXPORTER
PREFIX: str = "deberta"

WITHOUT_BIAS = encoder.WITHOUT_BIAS | {"projection", "relative_positions"}
SHAPES: Mapping[str, tuple[str, ...]] = {
    **encoder.SHAPES,
    "words": ("vocabulary", "embedding"),
    "positions": ("positions", "embedding"),
    "types": ("types", "embedding"),
    "projection": ("hidden", "embedding"),
    "relative_positions": ("distances", "hidden"),
    "relative_norm": ("hidden",),
    "relative_key": ("hidden", "hidden"),
    "relative_query": ("hidden", "hidden"),
    "convolution": ("hidden", "hidden_of_group", "kernel"),
    "convolution_norm": ("hidden",),
}
HUGGING_FACE: Mapping[str, str] = encoder.named(
    {
        "words": "{body}embeddings.word_embeddings",
        "positions": "{body}embeddings.position_embeddings",
        "types": "{body}embeddings.token_type_embeddings",
        "projection": "{body}embeddings.embed_proj",
        "embedding_norm": "{body}embeddings.LayerNorm",
        "relative_positions": "{body}encoder.rel_embeddings",
        "relative_norm": "{body}encoder.LayerNorm",
        "convolution": "{body}encoder.conv.conv",
        "convolution_norm": "{body}encoder.conv.LayerNorm",
        "query": "{body}encoder.layer.{layer}.attention.self.query_proj",
        "key": "{body}encoder.layer.{layer}.attention.self.key_proj",
        "value": "{body}encoder.layer.{layer}.attention.self.value_proj",
        "relative_key": "{body}encoder.layer.{layer}.attention.self.pos_key_proj",
        "relative_query": "{body}encoder.layer.{layer}.attention.self.pos_query_proj",
        "attention_output": "{body}encoder.layer.{layer}.attention.output.dense",
        "attention_norm": "{body}encoder.layer.{layer}.attention.output.LayerNorm",
        "up": "{body}encoder.layer.{layer}.intermediate.dense",
        "down": "{body}encoder.layer.{layer}.output.dense",
        "feed_forward_norm": "{body}encoder.layer.{layer}.output.LayerNorm",
    },
    WITHOUT_BIAS,
)
HEADS: Mapping[str, Mapping[str, str]] = {
    "ForSequenceClassification": encoder.named({"pooler": "pooler.dense", "classifier": "classifier"}),
    "ForTokenClassification": encoder.named({"classifier": "classifier"}),
}


def weights(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Return every weight of the parts that the config switches on."""
    absent = _absent_roles(config)
    body = {role: name for role, name in HUGGING_FACE.items() if role.removesuffix("_bias") not in absent}
    return encoder.weights({**body, **encoder.head(config, HEADS)}, _sizes(config), SHAPES)


def dimensions(config: Mapping[str, Any]) -> EncoderDimensions:
    """Read the dimensions; each kind of relative position adds a table to the scores.

    Relative positions know no longest text; it is what the model was trained on.
    """
    return encoder.read_dimensions(
        _sizes(config), weights(config), score_tables=2 + len(_relative_attention(config))
    )


def _sizes(config: Mapping[str, Any]) -> dict[str, int]:
    found = encoder.sizes(config, types=count(config, "type_vocab_size", 0, least=0))
    farthest = count(config, "max_relative_positions", -1, least=-1)
    buckets = count(config, "position_buckets", -1, least=-1)
    reach = buckets if buckets > 0 else farthest
    return {
        **found,
        "embedding": count(config, "embedding_size", found["hidden"]),
        "distances": 2 * (reach if reach > 0 else found["positions"]),
        "kernel": count(config, "conv_kernel_size", 0, least=0),
        "hidden_of_group": found["hidden"] // count(config, "conv_groups", 1),
    }


def _relative_attention(config: Mapping[str, Any]) -> set[str]:
    """Return c2p (content to position), p2c, both or nothing."""
    if not config.get("relative_attention", False):
        return set()
    given = config.get("pos_att_type") or ()
    kinds = given.lower().split("|") if isinstance(given, str) else given
    return {str(kind).strip() for kind in kinds} & {"c2p", "p2c"}


def _absent_roles(config: Mapping[str, Any]) -> set[str]:
    relative = _relative_attention(config)
    own_projections = not config.get("share_att_key", False)
    normalises = "layer_norm" in str(config.get("norm_rel_ebd", "none")).lower()
    sizes = _sizes(config)
    switched = {
        ("positions",): bool(config.get("position_biased_input", True)),
        ("types",): sizes["types"] > 0,
        ("projection",): sizes["embedding"] != sizes["hidden"],
        ("relative_positions",): bool(config.get("relative_attention", False)),
        ("relative_norm",): normalises,
        ("relative_key",): own_projections and "c2p" in relative,
        ("relative_query",): own_projections and "p2c" in relative,
        ("convolution", "convolution_norm"): sizes["kernel"] > 0,
    }
    return {role for roles, present in switched.items() if not present for role in roles}
