"""Facts: what a checkpoint's description says of a pipeline's tensors, before anything is converted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from builder import architecture, encoder, house, pooling, vision
from builder.ensemble import Facts, Tensor
from builder.errors import SourceError
from builder.source import read_json

PREPROCESSOR = "preprocessor_config.json"


def read(pipeline: str, config: Mapping[str, Any], folder: Path | None) -> Facts:
    """Return the facts of a model.

    Args:
        pipeline: a file of `ensembles/`.
        config: Hugging Face's, or what a source wrote of a graph or a table's model.
        folder: the checkpoint's, None while only published numbers are at hand.

    Raises:
        SourceError: the description does not say what the pipeline must know.
    """
    if "outputs" in config:
        return Facts(
            labels=tuple(config.get("labels", ())),
            inputs=tuple(_tensor(one) for one in config["inputs"]),
            outputs=tuple(_tensor(one) for one in config["outputs"]),
            batches=bool(config.get("batches", True)),
        )
    if pipeline == "embedding":
        found = pooling.read(folder) if folder else None
        return Facts(width=found.width if found else int(_hidden_size(config)))
    if pipeline == "image_classification":
        return Facts(labels=encoder.labels(config), image=_image(config, folder))
    if pipeline in ("classification", "token_classification"):
        return Facts(labels=encoder.labels(config))
    return Facts()


def most_tokens(folder: Path) -> int | None:
    """Return how long a text the model was made for, as modules or tokenizer say; None for neither."""
    found = pooling.read(folder)
    if found and found.max_tokens:
        return found.max_tokens
    told = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    most = told.get("model_max_length")
    # transformers writes 10**30 where nobody knows
    return int(most) if isinstance(most, int) and 0 < most < 1 << 24 else None


def _hidden_size(config: Mapping[str, Any]) -> Any:
    size = config.get("hidden_size", config.get("dim"))
    if not isinstance(size, int):
        raise SourceError("config.json says no hidden_size", expected="the size of its vectors")
    return size


def preprocessor(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return preprocessor_config.json, with the class of the family where it names none; {} without one."""
    told = read_json(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else {}
    if told and not (told.get("image_processor_type") or told.get("feature_extractor_type")):
        family = cast(architecture.Vision, architecture.load(str(config.get("model_type"))))
        told["image_processor_type"] = family.IMAGE_PROCESSOR
    return told


def _image(config: Mapping[str, Any], folder: Path | None) -> tuple[int, int, int]:
    """Return channels, height and width of what the graph takes: what the preparation makes of any image."""
    told = preprocessor(config, folder) if folder else {}
    height, width = _prepared(told) if told else vision.image_size(config)
    return vision.channels(config), height, width


def _prepared(told: Mapping[str, Any]) -> tuple[int, int]:
    """Return height and width as the model that prepares images will make them, by its own code."""
    preparation = house.load_file(house.folder("backends") / "image" / "configuration.py")
    try:
        size: tuple[int, int] = preparation.read(told).size
    except (ValueError, TypeError) as error:
        raise SourceError(
            str(error), remedy="take preprocessor_config.json from the model's own repository again"
        ) from error
    return size


def _tensor(told: Mapping[str, Any]) -> Tensor:
    return Tensor(
        str(told["name"]),
        str(told["data_type"]),
        tuple(int(size) for size in told["dims"]),
        labelled=bool(told.get("labelled", False)),
    )
