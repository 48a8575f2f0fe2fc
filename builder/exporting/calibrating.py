"""Measure a model with NVIDIA's ModelOpt 0.47: how large its inputs get, and how they are best smoothed.

ModelOpt calibrates; what it found is read from its quantisers, and `builder/ranks` rounds and packs: its own
exporter of TensorRT-LLM checkpoints is deprecated. The whole model is in memory here, on a GPU where there is
one. Model and data are read from the disk alone.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.errors import ConversionError
from builder.ranks.matrices import TORCH, Measured
from builder.ranks.quantization import PREQUANT, Matrix, Quantization

VERSION = "0.47.0"
CACHE_PRESET = "FP8_KV_CFG"
KEYS = ".self_attn.k_proj.weight"

_EXPERT = re.compile(r"^(.*)\.block_sparse_moe\.experts\.\d+\.(w[123])\.weight$")
"""A Mixtral's matrix of one expert; transformers 5 stacks them in `mlp.experts`, with a quantiser for all."""

Progress = Callable[[int, int], None]


def load(folder: Path, dtype: str) -> Any:
    """Return transformers' model of a folder, its numbers of safetensors' type `dtype`."""
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, TORCH[dtype]),
        local_files_only=True,
        device_map="auto" if torch.cuda.is_available() else None,
        # a quantiser watches the multiplications of each expert by itself
        experts_implementation="eager",
    )
    return model.eval()


def measure(
    model: Any,
    names: Sequence[str],
    sequences: Sequence[Sequence[int]],
    way: Quantization,
    cache: bool,
    progress: Progress | None = None,
) -> Measured:
    """Run sequences of token ids through a model, and return what was measured; the model is changed.

    Args:
        model: transformers'.
        names: the source's matrices that are quantised.
        sequences: the data.
        way: how they are quantised.
        cache: whether the KV cache is FP8.
        progress: hears of the sequences done; ways that search run them twice.

    Raises:
        ConversionError: inputs that were not finite, or zero throughout.
    """
    import modelopt.torch.quantization as modelopt
    import torch

    preset = copy.deepcopy(getattr(modelopt, way.PRESET))
    if cache:
        preset["quant_cfg"] = [*preset["quant_cfg"], *getattr(modelopt, CACHE_PRESET)["quant_cfg"]]
    if way.CALIBRATION:
        preset["algorithm"] = {**_algorithm(preset["algorithm"]), **way.CALIBRATION}
    total, done = len(sequences) * (2 if PREQUANT in way.SCALES else 1), 0

    def run(calibrated: Any) -> None:
        nonlocal done
        for ids in sequences:
            # one at a time: padding would count as inputs
            calibrated(torch.tensor([list(ids)], device=model.device), use_cache=False)
            done += 1
            if progress:
                progress(min(done, total), total)

    with torch.no_grad():
        modelopt.quantize(model, preset, run)
    found = {name: _matrix(model, name, way) for name in names}
    caches = {name: _cache(model, name) for name in names if cache and name.endswith(KEYS)}
    return Measured(found, caches)


def _algorithm(told: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a preset says of its algorithm, which may be no more than the name."""
    return {"method": told} if isinstance(told, str) else told


def _matrix(model: Any, name: str, way: Quantization) -> Matrix:
    expert = _EXPERT.match(name)
    if expert:
        own = "down_proj" if expert[2] == "w2" else "gate_up_proj"
        experts = model.get_submodule(f"{expert[1]}.mlp.experts")
        return Matrix(None, None, _largest(getattr(experts, f"{own}_input_quantizer"), name))
    linear = model.get_submodule(name.removesuffix(".weight"))
    largest = _largest(linear.input_quantizer, name) if "activation_scaling_factor" in way.SCALES else None
    if PREQUANT not in way.SCALES:
        return Matrix(None, None, largest)
    smoothing = linear.input_quantizer.pre_quant_scale
    if smoothing is None or not bool((_is_finite(smoothing) & (smoothing > 0)).all()):
        raise _unmeasured(name, "no smoothing could be found for its inputs")
    return Matrix(linear.weight.data, smoothing.detach().cpu(), largest)


def _is_finite(values: Any) -> Any:
    """Say of each value whether it is a number."""
    import torch

    return torch.isfinite(values)


def _largest(quantizer: Any, name: str) -> Any:
    """Return the largest input, a scalar."""
    found = quantizer.amax
    if found is None:
        raise _unmeasured(name, "no token reached it")
    value = float(found.float().max())
    if not math.isfinite(value) or value <= 0:
        raise _unmeasured(name, f"the largest of its inputs was {value}")
    return found.detach().cpu().max()


def _cache(model: Any, name: str) -> tuple[Any, Any]:
    attention = model.get_submodule(name.removesuffix(".k_proj.weight"))
    return _largest(attention.k_bmm_quantizer, name), _largest(attention.v_bmm_quantizer, name)


def _unmeasured(name: str, what: str) -> ConversionError:
    return ConversionError(
        f"calibration of {name.removesuffix('.weight')}: {what}",
        expected="finite inputs that are not all zero",
        remedy="see that the model answers sensibly unquantised; calibrate with more, and more varied, data",
    )


def record(way: Quantization, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a calibration."""
    return {"quant_algo": way.ALGORITHM, "modelopt": VERSION, "preset": way.PRESET, **way.CALIBRATION, **data}
