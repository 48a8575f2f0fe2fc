"""Decoders that groups of 128 divide: data to calibrate with, and ranks of numbers that were not measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tiny_decoders

from builder.ranks import matrices
from builder.ranks.convert import Prepared, Ranks
from builder.ranks.division import Division
from builder.ranks.matrices import Measured
from builder.ranks.quantised import Quantised, convert_quantised
from builder.ranks.quantization import PREQUANT, Matrix, load

SIZES = {
    "vocab_size": 320,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
}
SEQUENCES = np.random.default_rng(1).integers(0, SIZES["vocab_size"], (3, 24)).tolist()
Weights = dict[str, Any]


def write(folder: Path, model_type: str, **changed: Any) -> Weights:
    """Write a decoder with random float16 weights, and return them."""
    told = tiny_decoders.config(model_type, **{**SIZES, **changed})
    weights = {name: one.astype(np.float16) for name, one in tiny_decoders.weights(told).items()}
    tiny_decoders.write(folder, told, weights)
    return weights


def rewrite(folder: Path, weights: Weights) -> None:
    """Write other weights into the folder of a decoder."""
    tiny_decoders.write(folder, json.loads((folder / "config.json").read_text()), weights)


def made_up(method: str, cache: bool = False) -> Callable[..., tuple[Measured, Mapping[str, Any]]]:
    """Return a measurement without a run: every matrix is smoothed in its own way, inputs reach 3, 4, 5..."""
    import torch

    def measure(prepared: Prepared, names: Sequence[str]) -> tuple[Measured, Mapping[str, Any]]:
        torch.manual_seed(0)
        sources = {one.info.name: one for one in prepared.sources}
        found = {}
        for number, name in enumerate(names):
            found[name] = Matrix(None, None, torch.tensor(3.0 + number))
            if PREQUANT in load(method).SCALES:
                weight = matrices.read(sources[name], prepared.dtype)
                smoothing = (torch.rand(weight.shape[1]) + 0.5).to(weight.dtype)
                found[name] = replace(found[name], weight=weight / smoothing, smoothing=smoothing)
        keys = [name for name in names if ".k_proj." in name] if cache else []
        caches = {
            name: (torch.tensor(900.0), torch.tensor(5.0 + 448 * (4 + number)))
            for number, name in enumerate(keys)
        }
        return Measured(found, caches), {"sha256": "of the data"}

    return measure


def converted(
    folder: Path, model_type: str, method: str, division: Division, cache: bool = False, **changed: Any
) -> Weights:
    """Write a decoder and, as `out`, its ranks; return the weights that it was made of."""
    weights = write(folder / "source", model_type, **changed)
    asked = Quantised(Ranks(division), method, cache)
    convert_quantised(folder / "source", folder / "out", asked, made_up(method, cache))
    return weights
