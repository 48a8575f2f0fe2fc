"""What the text encoder families in `architectures/` have in common: roles, shapes, heads, labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.architecture import EncoderDimensions, count, require_fields
from builder.errors import SourceError
from builder.weights import Weight, parameters

PIPELINES: tuple[str, ...] = ("embedding", "classification", "token_classification", "reranking")
EXPORTER: str = "text_encoder"

FIELDS: Mapping[str, str] = {
    "vocabulary": "vocab_size",
    "hidden": "hidden_size",
    "intermediate": "intermediate_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "positions": "max_position_embeddings",
}
"""Size -> the field of config.json that gives it, in most families."""

SHAPES: Mapping[str, tuple[str, ...]] = {
    "words": ("vocabulary", "hidden"),
    "positions": ("positions", "hidden"),
    "types": ("types", "hidden"),
    "embedding_norm": ("hidden",),
    "query": ("hidden", "hidden"),
    "key": ("hidden", "hidden"),
    "value": ("hidden", "hidden"),
    "attention_output": ("hidden", "hidden"),
    "attention_norm": ("hidden",),
    "up": ("intermediate", "hidden"),
    "down": ("hidden", "intermediate"),
    "feed_forward_norm": ("hidden",),
    "pooler": ("hidden", "hidden"),
    "classifier": ("labels", "hidden"),
}
"""Role -> the sizes of its weight; a bias has the first of them."""

WITHOUT_BIAS = frozenset({"words", "positions", "types"})

BERT: Mapping[str, str] = {
    "words": "{body}embeddings.word_embeddings",
    "positions": "{body}embeddings.position_embeddings",
    "types": "{body}embeddings.token_type_embeddings",
    "embedding_norm": "{body}embeddings.LayerNorm",
    "query": "{body}encoder.layer.{layer}.attention.self.query",
    "key": "{body}encoder.layer.{layer}.attention.self.key",
    "value": "{body}encoder.layer.{layer}.attention.self.value",
    "attention_output": "{body}encoder.layer.{layer}.attention.output.dense",
    "attention_norm": "{body}encoder.layer.{layer}.attention.output.LayerNorm",
    "up": "{body}encoder.layer.{layer}.intermediate.dense",
    "down": "{body}encoder.layer.{layer}.output.dense",
    "feed_forward_norm": "{body}encoder.layer.{layer}.output.LayerNorm",
}
"""Role -> module of BERT, whose names RoBERTa kept."""

_PIPELINES: Mapping[str, str] = {
    "ForTokenClassification": "token_classification",
    "ForImageClassification": "image_classification",
    "ForMaskedLM": "embedding",
    "ForPreTraining": "embedding",
    "Model": "embedding",
}


def named(modules: Mapping[str, str], without_bias: frozenset[str] = WITHOUT_BIAS) -> dict[str, str]:
    """Return role -> tensor name for role -> module: the weight, and the bias as the role `..._bias`."""
    found = {}
    for role, module in modules.items():
        found[role] = f"{module}.weight"
        if role not in without_bias:
            found[f"{role}_bias"] = f"{module}.bias"
    return found


DENSE_HEADS: Mapping[str, Mapping[str, str]] = {
    "ForSequenceClassification": named({"pooler": "classifier.dense", "classifier": "classifier.out_proj"}),
    "ForTokenClassification": named({"classifier": "classifier"}),
}
"""The heads of RoBERTa's line: end of a class name -> role -> tensor name."""


def sizes(config: Mapping[str, Any], fields: Mapping[str, str] = FIELDS, **more: int) -> dict[str, int]:
    """Return size -> number, of `fields`, the labels of the head and what a family adds in `more`.

    Raises:
        SourceError: naming every missing field, or the one whose value cannot be.
    """
    require_fields(config, fields.values())
    found = {size: count(config, field) for size, field in fields.items()}
    if found["hidden"] % found["heads"]:
        raise SourceError(
            f"config.json: {found['heads']} attention heads in {found['hidden']} hidden values",
            expected=f"{fields['heads']} divides {fields['hidden']}",
            remedy="take config.json from the model's own repository again",
        )
    return {**found, "labels": number_of_labels(config), **more}


def weights(
    tensors: Mapping[str, str], sizes: Mapping[str, int], shapes: Mapping[str, tuple[str, ...]] = SHAPES
) -> tuple[Weight, ...]:
    """Return the weights of role -> tensor name, with the numbers of this model in their shapes."""
    found = []
    for role, name in tensors.items():
        shape = shapes[role] if role in shapes else shapes[role.removesuffix("_bias")][:1]
        layers = range(sizes["layers"]) if "{layer}" in name else range(1)
        found.append(Weight(name, tuple(sizes[size] for size in shape), layers))
    return tuple(found)


def head(config: Mapping[str, Any], heads: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the tensors of the head that the config's class has: none for a plain model.

    Args:
        config: a Hugging Face config.
        heads: end of a class name, such as `ForTokenClassification` -> role -> tensor name.
    """
    name = class_name(config)
    return {role: tensor for end, own in heads.items() if name.endswith(end) for role, tensor in own.items()}


def read_dimensions(
    sizes: Mapping[str, int],
    weights: tuple[Weight, ...],
    context_length: int | None = None,
    *,
    score_tables: int = 2,
    gated: bool = False,
) -> EncoderDimensions:
    """Return the dimensions; a text may fill all positions unless `context_length` says otherwise."""
    return EncoderDimensions(
        vocabulary_size=sizes["vocabulary"],
        hidden_size=sizes["hidden"],
        intermediate_size=sizes["intermediate"],
        layers=sizes["layers"],
        heads=sizes["heads"],
        context_length=sizes["positions"] if context_length is None else context_length,
        parameters=parameters(weights),
        score_tables=score_tables,
        gated=gated,
    )


def pipeline(config: Mapping[str, Any], is_sentence_transformer: bool) -> str:
    """Return the pipeline that a checkpoint was trained for, by the class it was saved from.

    Args:
        config: a Hugging Face config.
        is_sentence_transformer: whether modules.json of sentence-transformers lies beside it.

    Raises:
        SourceError: a class that no pipeline serves, or none at all.
    """
    name = class_name(config)
    if name.endswith("ForSequenceClassification"):
        return "reranking" if number_of_labels(config) == 1 else "classification"
    for end, found in _PIPELINES.items():
        if name.endswith(end):
            return found
    if is_sentence_transformer:
        return "embedding"
    raise SourceError(
        f"config.json: architectures is {config.get('architectures')!r}",
        expected=f"a class that ends in ForSequenceClassification, {', '.join(_PIPELINES)}",
        remedy="fetch a checkpoint with such a head, or name the pipeline in a recipe of your own",
    )


def positions_after_padding(config: Mapping[str, Any], padding: int) -> int:
    """Return how many tokens a text may have where positions begin after the number of the padding token."""
    found = count(config, "max_position_embeddings") - padding - 1
    if found < 1:
        raise SourceError(
            f"config.json: {found + padding + 1} positions, the first of them after padding token {padding}",
            expected="positions for at least one token",
            remedy="take config.json from the model's own repository again",
        )
    return found


def class_name(config: Mapping[str, Any]) -> str:
    """Return the class that the checkpoint was saved from, or nothing where the config does not say."""
    classes = config.get("architectures")
    return str(classes[0]) if isinstance(classes, list) and classes else ""


def number_of_labels(config: Mapping[str, Any]) -> int:
    """Return how many labels the head tells apart; transformers leaves out what it takes itself: two."""
    found = config.get("id2label")
    return len(found) if isinstance(found, Mapping) and found else count(config, "num_labels", 2)


def labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the labels in the order of their numbers; LABEL_0, LABEL_1, ... where the config names none.

    Raises:
        SourceError: the numbers have a gap, or a label is no text of one line. Two classes may share a name,
            as ImageNet's cranes do.
    """
    number = number_of_labels(config)
    given = config.get("id2label") or {index: f"LABEL_{index}" for index in range(number)}
    if not isinstance(given, Mapping):
        raise _mislabelled(f"id2label is {given!r}", "a table of number and label")
    # JSON has only texts for keys
    by_number = {str(key): label for key, label in given.items()}
    missing = [str(index) for index in range(number) if str(index) not in by_number]
    if missing:
        raise _mislabelled(f"id2label has no label {', '.join(missing[:3])}", f"0 to {number - 1}, each once")
    found = tuple(by_number[str(index)] for index in range(number))
    for label in found:
        if not isinstance(label, str) or not label.strip() or label.splitlines() != [label]:
            raise _mislabelled(f"id2label holds {label!r}", "labels of one line")
    return found


def _mislabelled(found: str, expected: str) -> SourceError:
    return SourceError(
        f"config.json: {found}", expected=expected, remedy="correct id2label in the checkpoint's config.json"
    )
