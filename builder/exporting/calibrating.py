"""Measure a model with NVIDIA's ModelOpt 0.47: how large its inputs get, and how they are best smoothed.

ModelOpt calibrates; what it found is read from its quantisers, and `builder/ranks` rounds and packs: its own
exporter of TensorRT-LLM checkpoints is deprecated. One layer is in memory at a time, on a GPU where there is
one; ModelOpt's own way to do so keeps every weight that it smooths. Each layer reads what those before it
make unquantised, as in a run of the whole. Model and data are read from the disk alone.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from builder.errors import ConversionError
from builder.exporting.layers import Layers, place
from builder.ranks import quantization
from builder.ranks.convert import Prepared
from builder.ranks.matrices import Measured
from builder.ranks.quantised import Quantised
from builder.ranks.quantization import PREQUANT, Matrix, Quantization

VERSION = "0.47.0"
CACHE_PRESET = "FP8_KV_CFG"
KEYS = ".self_attn.k_proj.weight"

_EXPERT = re.compile(r"^(.*)\.block_sparse_moe\.experts\.\d+\.(w[123])\.weight$")
"""A Mixtral's matrix of one expert; transformers 5 stacks them in `mlp.experts`, with a quantiser for all."""

Progress = Callable[[int, int], None]


def measure(
    prepared: Prepared,
    names: Sequence[str],
    sequences: Sequence[Sequence[int]],
    asked: Quantised,
    room: Path,
    progress: Progress | None = None,
) -> Measured:
    """Run sequences of token ids through a model, layer by layer, and return what was measured.

    Args:
        prepared: the model.
        names: the source's matrices that are quantised.
        sequences: the data.
        asked: how they are quantised, and whether the KV cache is FP8.
        room: a folder, which keeps the weights that were smoothed for as long as the result is used.
        progress: hears of the sequences done, of all layers.

    Raises:
        ConversionError: inputs that were not finite, or zero throughout.
    """
    import modelopt.torch.quantization as modelopt
    import torch

    way, layers = quantization.load(asked.method), Layers(prepared)
    # before it is quantised, and once or, by ways that search, twice while it is
    heard = _Heard(layers.count * len(sequences) * (3 if PREQUANT in way.SCALES else 2), progress)
    found = Matrices(room)
    caches: dict[str, tuple[Any, Any]] = {}
    with torch.no_grad():
        states = layers.embedded(sequences)
        for layer in range(layers.count):
            model, after = layers.model(layer), []

            # one sequence at a time: padding would count as inputs
            for state in states:
                after.append(layers.run(model, state))
                heard.one()

            def run(calibrated: Any, states: Sequence[Any] = states) -> None:
                for state in states:
                    layers.run(calibrated, state)
                    heard.one()

            modelopt.quantize(model, _preset(way, asked.cache), run)
            own = {name: place(name)[1] for name in names if place(name)[0] == layer}
            made = {name: _matrix(model, name, inner, way) for name, inner in own.items()}
            found.keep(made, f"layer-{layer}.safetensors")
            if asked.cache:
                caches |= {name: _cache(model, name, one) for name, one in own.items() if name.endswith(KEYS)}
            states = after
    return Measured(found, caches)


class Matrices(Mapping[str, Matrix]):
    """What was measured of matrices by name; their smoothed weights lie in a folder until they are asked for.

    Args:
        room: the folder.
    """

    def __init__(self, room: Path) -> None:
        self._room = room
        self._found: dict[str, Matrix] = {}
        self._files: dict[str, str] = {}

    def keep(self, made: Mapping[str, Matrix], file: str) -> None:
        """Add matrices, the weights of all of them in a file of that name."""
        from safetensors.torch import save_file

        weights = {name: one.weight.contiguous() for name, one in made.items() if one.weight is not None}
        if weights:
            save_file(weights, self._room / file)
        self._files |= dict.fromkeys(weights, file)
        self._found |= {name: replace(one, weight=None) for name, one in made.items()}

    def __getitem__(self, name: str) -> Matrix:
        from safetensors import safe_open

        if name not in self._files:
            return self._found[name]
        with safe_open(self._room / self._files[name], framework="pt") as file:
            return replace(self._found[name], weight=file.get_tensor(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


class _Heard:
    """Counts sequences, and tells of them."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress, self._done = total, progress, 0

    def one(self) -> None:
        self._done += 1
        if self._progress:
            self._progress(min(self._done, self._total), self._total)


def _preset(way: Quantization, cache: bool) -> dict[str, Any]:
    import modelopt.torch.quantization as modelopt

    preset: dict[str, Any] = copy.deepcopy(getattr(modelopt, way.PRESET))
    if cache:
        preset["quant_cfg"] = [*preset["quant_cfg"], *getattr(modelopt, CACHE_PRESET)["quant_cfg"]]
    if way.CALIBRATION:
        preset["algorithm"] = {**_algorithm(preset["algorithm"]), **way.CALIBRATION}
    return preset


def _algorithm(told: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a preset says of its algorithm, which may be no more than the name."""
    return {"method": told} if isinstance(told, str) else told


def _matrix(model: Any, name: str, inner: str, way: Quantization) -> Matrix:
    """Return what was measured of a matrix, `inner` in the model of its layer."""
    expert = _EXPERT.match(inner)
    if expert:
        own = "down_proj" if expert[2] == "w2" else "gate_up_proj"
        experts = model.get_submodule(f"{expert[1]}.mlp.experts")
        return Matrix(None, None, _largest(getattr(experts, f"{own}_input_quantizer"), name))
    linear = model.get_submodule(inner.removesuffix(".weight"))
    largest = _largest(linear.input_quantizer, name) if "activation_scaling_factor" in way.SCALES else None
    if PREQUANT not in way.SCALES:
        return Matrix(None, None, largest)
    smoothing = linear.input_quantizer.pre_quant_scale
    if smoothing is None or not bool((_is_finite(smoothing) & (smoothing > 0)).all()):
        raise _unmeasured(name, "no smoothing could be found for its inputs")
    return Matrix(linear.weight.data.cpu(), smoothing.detach().cpu(), largest)


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


def _cache(model: Any, name: str, inner: str) -> tuple[Any, Any]:
    attention = model.get_submodule(inner.removesuffix(".k_proj.weight"))
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
