"""What the matrices of a layer read: enough of it to tell what any rounding of them would make."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from builder.errors import ConversionError
from builder.exporting.layers import Layers, place

READERS = (("query", "key", "value"), ("attention_output",), ("gate", "up"), ("down",))
"""Matrices of a layer, those together that read the same."""


class Inputs:
    """What a matrix reads: the mean of the outer products of its inputs, float32 [inputs, inputs].

    It lies where the inputs do, a GPU's memory where they are there.

    Args:
        width: inputs.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._count = 0
        self._products: Any = None
        self._magnitudes: Any = None
        self._first: Any = None
        self._same: Any = None

    def add(self, states: Any) -> None:
        """Add inputs [..., inputs]."""
        import torch

        rows = states.reshape(-1, states.shape[-1]).float()
        if self._first is None:
            self._first = rows[0].clone()
            self._same = torch.ones((), dtype=torch.bool, device=rows.device)
            self._products = torch.zeros(self._width, self._width, device=rows.device)
            self._magnitudes = torch.zeros(self._width, device=rows.device)
        self._same &= (rows == self._first).all()
        before, self._count = self._count, self._count + len(rows)
        self._magnitudes += rows.abs().sum(dim=0)
        # twice the mean, as GPTQ has it: the second derivative of what is lost
        scaled = math.sqrt(2 / self._count) * rows.t()
        self._products *= before / self._count
        self._products += scaled @ scaled.t()

    def of(self, name: str) -> Any:
        """Return the products; raise ConversionError for inputs that tell nothing of matrix `name`."""
        import torch

        if not self._count:
            raise refusal(name, "no token reached it")
        if not bool(torch.isfinite(self._products).all()):
            raise refusal(name, "its inputs were infinite, or no numbers")
        if bool(self._same):
            raise refusal(name, f"all its {self._count:,} inputs were the same")
        return self._products

    def magnitudes(self) -> Any:
        """Return how large each input is in the mean, without its sign, float32 [inputs]."""
        return self._magnitudes / self._count


class Layer:
    """A layer's tensors by role, and what its matrices read before any of them was rounded.

    Args:
        model: transformers' with that layer alone.
        names: role -> the source's name, of all that the layer has.
        types: role -> the type that the source has the tensor in, safetensors' name.
        inputs: of each matrix, by role.
    """

    def __init__(
        self, model: Any, names: Mapping[str, str], types: Mapping[str, str], inputs: Mapping[str, Inputs]
    ) -> None:
        self._model = model
        self.names, self.types, self.inputs = names, types, inputs

    def tensor(self, role: str) -> Any:
        """Return a tensor as it is in the model."""
        return self._model.get_parameter(place(self.names[role])[1]).data

    def module(self, role: str) -> Any:
        """Return what has the tensor as its weight."""
        return self._model.get_submodule(place(self.names[role])[1].removesuffix(".weight"))

    def products(self, role: str) -> Any:
        """Return what a matrix reads; raise ConversionError where that tells nothing."""
        return self.inputs[role].of(self.names[role])

    def replace(self, role: str, value: Any) -> None:
        """Have the model compute with another tensor from now on."""
        parameter = self._model.get_parameter(place(self.names[role])[1])
        parameter.data = value.to(parameter)


def heard(
    layers: Layers, model: Any, states: Sequence[Any], names: Mapping[str, str], types: Mapping[str, str]
) -> Layer:
    """Return a layer with what its matrices read while it runs."""
    found, hooks = dict[str, Inputs](), []
    layer = Layer(model, names, types, found)
    for readers in READERS:
        linear = layer.module(readers[0])
        inputs = Inputs(linear.in_features)
        found |= dict.fromkeys(readers, inputs)
        hooks.append(linear.register_forward_pre_hook(lambda module, read, to=inputs: to.add(read[0])))
    try:
        for state in states:
            layers.run(model, state)
    finally:
        for hook in hooks:
            hook.remove()
    return layer


def refusal(name: str, what: str) -> ConversionError:
    """Return what to raise for a matrix of which nothing can be measured."""
    return ConversionError(
        f"calibration of {name.removesuffix('.weight')}: {what}",
        expected="finite inputs that differ from token to token",
        remedy="see that the model answers sensibly unquantised; calibrate with more varied texts; "
        "or round without any, by --quantize int4_g64",
    )
