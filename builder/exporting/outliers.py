"""Which numbers of an activation are far larger than the others, whatever the input: seen, not guessed.

A transformer has a few such channels, the same ones for every token (https://arxiv.org/abs/2208.07339).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builder.exporting import graph_file

Array = npt.NDArray[Any]

_LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_IMAGES = 16


def largest(
    model: Any, activations: Iterable[str], inputs: Sequence[Mapping[str, Array]]
) -> dict[str, Array]:
    """Run a graph; return activation -> float32 [size], the largest of each channel without its sign.

    Args:
        model: an onnx ModelProto, which is left as it is.
        activations: tensors of float32 [..., size].
        inputs: what the graph is run on.
    """
    import onnx
    import onnxruntime

    names = list(activations)
    if not names or not inputs:
        return {}
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    for name in names:
        seen.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / graph_file.NAME
        # in a file of their own the weights may be more than protobuf's 2 GiB
        onnx.save_model(seen, path, save_as_external_data=True, location=graph_file.DATA)
        del seen
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        found: dict[str, Array] = {}
        for one in inputs:
            for name, array in zip(names, session.run(names, dict(one)), strict=True):
                most = np.abs(array.reshape(-1, array.shape[-1])).max(axis=0)
                found[name] = np.maximum(found.get(name, most), most)
    return found


def texts(vocabulary: int, most: int, *, pairs: bool) -> list[dict[str, Array]]:
    """Return inputs of a text encoder's graph: ids at random, one row of each length.

    At random, since the proof compares on real texts: it must know nothing of this.
    """
    chance = np.random.default_rng(0)
    found = []
    for length in [length for length in _LENGTHS if length <= most]:
        row = [length, length, *([(length + 1) // 2] if pairs else [])]
        found.append(
            {
                "input_ids": chance.integers(0, vocabulary, length, np.int32),
                "extent": np.zeros(length, np.int32),
                "places": np.zeros(length, np.int32),
                "rows": np.array([row], np.int32),
            }
        )
    return found


def images(name: str, shape: tuple[int, int, int]) -> list[dict[str, Array]]:
    """Return inputs of an image encoder's graph: noise, and images of one colour."""
    chance = np.random.default_rng(0)
    noise = chance.normal(size=(_IMAGES, *shape)) * chance.uniform(0, 1, (_IMAGES, 1, 1, 1))
    colours = chance.uniform(-2, 2, (_IMAGES, shape[0], 1, 1))
    return [{name: (noise + colours).astype(np.float32)}]
