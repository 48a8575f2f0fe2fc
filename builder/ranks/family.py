"""What a model family states about its TensorRT-LLM checkpoint; one file per `model_type` in `families/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

from builder import architecture, house
from builder.architecture import Decoder, Dimensions
from builder.errors import ConversionError
from builder.ranks.rules import Rule


class Family(Protocol):
    """What each file in `families/` offers; it is named as the file of `architectures/`."""

    ARCHITECTURE: str
    """TensorRT-LLM's name of the model class (its models/__init__.py, MODEL_MAP)."""

    RULES: tuple[Rule, ...]
    """What its layers, final norm and head are made of; the embedding is everyone's alike."""

    def settings(self, config: Mapping[str, Any], dimensions: Dimensions) -> dict[str, Any]:
        """Return the fields of config.json that only this family has, or spells its own way.

        Raises SourceError for a config of the family that TensorRT-LLM has no graph for.
        """
        ...

    def windows(self, config: Mapping[str, Any], dimensions: Dimensions) -> tuple[int, ...]:
        """Return how many tokens back each layer sees; empty where all see everything."""
        ...


def names() -> list[str]:
    """Return the families that can be converted."""
    return house.plugin_names("ranks.families")


def load(model_type: str) -> Family:
    """Return the family of a `model_type`; raise ConversionError listing those that exist."""
    name = model_type.replace("-", "_")
    if name not in names():
        raise ConversionError(
            f"a {model_type} has no file in builder/ranks/families/",
            expected=f"one of {', '.join(names())}",
            remedy="run it by another target, such as --target llmapi",
        )
    return cast(Family, house.plugin("ranks.families", name, option="model_type"))


def decoder(model_type: str) -> Decoder:
    """Return what names the tensors of the source."""
    return cast(Decoder, architecture.load(model_type))


def windows(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Return what Triton's `max_attention_window_size` is to say, empty for nothing.

    One number is for all layers, several are for each in turn. The checkpoint itself has no field for it.

    Args:
        config: Hugging Face's.

    Raises:
        SourceError: a window that cannot be.
    """
    name = str(config["model_type"])
    dimensions = decoder(name).dimensions(config)
    found = load(name).windows(config, dimensions)
    if all(window >= dimensions.context_length for window in found):
        return ()
    return found[:1] if len(set(found)) == 1 else found


def of_every_layer(dimensions: Dimensions) -> tuple[int, ...]:
    """Return the one window that all layers have, as Mistral's."""
    return () if dimensions.sliding_window is None else (dimensions.sliding_window,) * dimensions.layers
