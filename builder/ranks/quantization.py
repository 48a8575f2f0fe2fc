"""What a way to quantise a TensorRT-LLM checkpoint states; one file per `--method` value in `quantizations/`.

On disk is what NVIDIA's ModelOpt writes (0.47, torch/export/quant_utils.py and model_config_utils.py), which
trtllm-build reads on any GPU: the interleaving of 4-bit weights, that differs between them, is its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from builder import house

EACH, LAYER, OUTPUT, GROUP, INPUT = "each", "layer", "output", "group", "input"
"""What has a number of its own: each matrix; all matrices together; an output; a group; an input."""

PREQUANT = "prequant_scaling_factor"
"""What inputs are multiplied with before they are rounded; of the model's own type, all others float32."""

RECORD = "calibration.json"
"""Beside config.json: the data that scales were measured with, and what measured."""


@dataclass(frozen=True)
class Matrix:
    """A matrix of the source [outputs, inputs], torch's in the model's own type, and what was measured.

    `smoothing` [inputs] is what its inputs are multiplied with; its weights are divided by it already.
    `input` is the largest of them afterwards, a scalar. Both are None where the way does not ask for them.
    `scale`, a scalar or [outputs, groups], is that of weights that are quantised already, which are float32
    then; None for plain ones.
    """

    weight: Any
    smoothing: Any = None
    input: Any = None
    scale: Any = None


@dataclass(frozen=True)
class Rounded:
    """Matrices one below the other [outputs, inputs], as float8_e4m3 or int8, and their scales by name."""

    numbers: Any
    scales: Mapping[str, Any]


class Quantization(Protocol):
    """What each file in `quantizations/` offers."""

    ALGORITHM: str
    """TensorRT-LLM's `quant_algo` (its quantization/mode.py, QuantAlgo)."""

    PRESET: str
    """ModelOpt's name of what is calibrated and how (its torch/quantization/config.py)."""

    CALIBRATION: Mapping[str, Any]
    """What its algorithm is told otherwise than by the preset, by ModelOpt's names."""

    NUMBER: str
    """safetensors' type of the weights."""

    PER_BYTE: int
    """How many outputs share a byte, the first in its low bits."""

    GROUP_SIZE: int
    """How many inputs share a scale, 0 for all."""

    SCALES: Mapping[str, str]
    """Name of a scale -> what has one of its own."""

    TOGETHER: tuple[frozenset[str], ...]
    """Which modules of a layer share their scales, because a kernel may run them as one."""

    EXPERTS: bool
    """Whether TensorRT-LLM has a kernel for a mixture's experts."""

    SETTINGS: Mapping[str, Any]
    """What else config.json says of it."""

    def rounded(self, matrices: Sequence[Matrix], companions: Sequence[Matrix]) -> Rounded:
        """Quantise what lies in one tensor; `companions` are other tensors' that share its scales."""
        ...


def names() -> list[str]:
    """Return the ways there are."""
    return house.plugin_names("ranks.quantizations")


def named(algorithm: str) -> str:
    """Return the way that a `quant_algo` is; raise KeyError where there is none."""
    return {load(name).ALGORITHM: name for name in names()}[algorithm]


def load(name: str) -> Quantization:
    """Return a way; raise UsageError listing those that exist."""
    return cast(Quantization, house.plugin("ranks.quantizations", name, option="--method"))
