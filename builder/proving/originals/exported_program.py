"""A program of torch.export as it was saved, run by torch on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.proving.originals.drawing import samples as samples
from builder.proving.originals.onnx import rowwise

if TYPE_CHECKING:
    from builder.proving.originals.drawing import Arrays, Original


def load(path: Path, config: Mapping[str, Any]) -> Original:
    """Return the program as a function of its tensors; whoever asks for it has the user's trust."""
    import torch
    from torch.utils import _pytree

    program = torch.export.load(path)
    module = program.module()
    example, named = program.example_inputs
    places = [place for place, one in enumerate(_pytree.tree_leaves((example, named))) if one is not None]
    leaves, layout = _pytree.tree_flatten((example, named))
    names = [one["name"] for one in config["inputs"]]
    ranks = {name: leaves[place].ndim for name, place in zip(names, places, strict=True)}

    def run(inputs: Arrays) -> list[Any]:
        given = list(leaves)
        for name, place in zip(names, places, strict=True):
            given[place] = torch.from_numpy(inputs[name])
        arguments, keywords = _pytree.tree_unflatten(given, layout)
        with torch.no_grad():
            found = _pytree.tree_leaves(module(*arguments, **keywords))
        return [one.numpy() for one in found if one is not None]

    return rowwise(config, ranks, run)
