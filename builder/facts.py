"""Facts: what a checkpoint's description says of a pipeline's tensors, before anything is converted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder import encoder, pooling
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


def _image(config: Mapping[str, Any], folder: Path | None) -> tuple[int, int, int]:
    """Return channels, height and width of what the graph takes: what the preparation makes of any image."""
    side: Any = None
    if folder and (folder / PREPROCESSOR).is_file():
        told = read_json(folder / PREPROCESSOR)
        side = told.get("crop_size") if told.get("do_center_crop") else told.get("size")
    side = side if side is not None else config.get("image_size", 224)
    if isinstance(side, Mapping):
        height = side.get("height", side.get("shortest_edge"))
        width = side.get("width", side.get("shortest_edge"))
    else:
        height = width = side
    if not isinstance(height, int) or not isinstance(width, int):
        raise SourceError(f"{PREPROCESSOR} says a size of {side}", expected="height and width")
    return int(config.get("num_channels", 3)), height, width


def _tensor(told: Mapping[str, Any]) -> Tensor:
    return Tensor(
        str(told["name"]),
        str(told["data_type"]),
        tuple(int(size) for size in told["dims"]),
        labelled=bool(told.get("labelled", False)),
    )
