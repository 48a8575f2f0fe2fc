"""How an embedding model makes one vector of a text: what sentence-transformers' module files say.

Files: modules.json, sentence_bert_config.json, N_Pooling/config.json, N_Dense/config.json
(https://sbert.net/docs/sentence_transformer/usage/custom_models.html).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import SourceError
from builder.source import read_json

MODES: Mapping[str, str] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weighted_mean",
    "pooling_mode_lasttoken": "last",
}
"""Switch of a Pooling config -> what it does, in the order in which the vectors are joined."""


@dataclass(frozen=True)
class Dense:
    """A linear layer after the pooling: `path` is its folder, `activation` a class of torch."""

    path: Path
    inputs: int
    outputs: int
    bias: bool
    activation: str


@dataclass(frozen=True)
class Pooling:
    """One vector of a text's tokens; `width` is its size.

    `max_tokens` is how many tokens the model was trained with, None where nobody says.
    """

    modes: tuple[str, ...]
    width: int
    dense: tuple[Dense, ...] = ()
    normalized: bool = False
    max_tokens: int | None = None
    lower_case: bool = False


def read(folder: Path) -> Pooling | None:
    """Read the modules of a sentence-transformers folder, None where it has none.

    Raises:
        SourceError: a module that is not known here, or a file of one that does not say enough.
    """
    if not (folder / "modules.json").is_file():
        return None
    modes: tuple[str, ...] = ()
    width = 0
    dense: list[Dense] = []
    normalized = False
    for module in _modules(folder / "modules.json"):
        kind = str(module.get("type", "")).rsplit(".", 1)[-1]
        home = folder / str(module.get("path", ""))
        if kind == "Pooling":
            modes, width = _pooling(home / "config.json")
        elif kind == "Dense":
            dense.append(_dense(home))
            width = dense[-1].outputs
        elif kind == "Normalize":
            normalized = True
        elif kind != "Transformer":
            raise SourceError(
                f"{folder / 'modules.json'} has a module {module.get('type')}",
                expected="Transformer, Pooling, Dense and Normalize",
                remedy="export the model to ONNX and build from the .onnx file",
            )
    if not modes:
        raise SourceError(f"{folder / 'modules.json'} has no Pooling", expected="one vector for a text")
    limits = _optional(folder / "sentence_bert_config.json")
    return Pooling(
        modes,
        width,
        tuple(dense),
        normalized,
        limits.get("max_seq_length"),
        bool(limits.get("do_lower_case", False)),
    )


def _modules(path: Path) -> list[Mapping[str, Any]]:
    import json

    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SourceError(f"{path} is not valid JSON: {error}", remedy="fetch the file again") from error
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise SourceError(f"{path} holds no list of modules", remedy="fetch the file again")
    return found


def _pooling(path: Path) -> tuple[tuple[str, ...], int]:
    told = read_json(path)
    modes = tuple(mode for switch, mode in MODES.items() if told.get(switch))
    named = told.get("pooling_mode")
    if not modes and named is not None:
        modes = tuple([named] if isinstance(named, str) else named)
    unknown = [mode for mode in modes if mode not in MODES.values()]
    size = told.get("word_embedding_dimension", told.get("embedding_dimension"))
    if unknown or not modes or not isinstance(size, int):
        raise SourceError(
            f"{path} says pooling {', '.join(unknown) or 'nothing'} of {size} numbers",
            expected=f"some of {', '.join(MODES.values())}, and word_embedding_dimension",
            remedy="fetch the file again",
        )
    return modes, size * len(modes)


def _dense(home: Path) -> Dense:
    told = read_json(home / "config.json")
    inputs, outputs = told.get("in_features"), told.get("out_features")
    if not isinstance(inputs, int) or not isinstance(outputs, int):
        raise SourceError(
            f"{home / 'config.json'} does not say in_features and out_features", remedy="fetch the file again"
        )
    activation = str(told.get("activation_function", "torch.nn.modules.activation.Tanh"))
    return Dense(home, inputs, outputs, bool(told.get("bias", True)), activation.rsplit(".", 1)[-1])


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
