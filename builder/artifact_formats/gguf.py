"""GGUF, as llama.cpp reads it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from builder import architecture
from builder.architecture import Decoder
from builder.gguf import materialise, mixes
from builder.gguf.header import Header, read_header
from builder.kept import Kept

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def tensors(folder: Path) -> list[Kept]:
    """Return what the header says of every tensor."""
    return [
        Kept(one.name, one.shape, one.dtype, one.nbytes, is_matrix=len(one.shape) > 1)
        for one in _header(folder).tensors.values()
    ]


def stands_in(tensor: Kept, promised: tuple[str, ...]) -> tuple[str, str]:
    """Return the type that llama.cpp would have taken, were the rows whole blocks of it."""
    columns = tensor.shape[-1]
    for kind in promised:
        elements, _ = mixes.BLOCKS[kind]
        if mixes.STANDS_IN.get(kind) == tensor.kind and columns % elements:
            return kind, f"rows of {columns} are no whole blocks of {elements}"
    return promised[0], "chosen otherwise"


def weights(folder: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Yield what every tensor unpacks to, in Hugging Face's order of rows."""
    import numpy as np

    header = _header(folder)
    family = cast(Decoder, architecture.load(config["model_type"]))
    sizes = family.dimensions(config)
    names = family.HUGGING_FACE
    for move in materialise.moves(header.tensors, family, sizes):
        values = np.concatenate([rows.ravel() for rows in materialise.values(header, move)])
        assert values.size == math.prod(move.shape)
        yield move.target, values.reshape(move.shape)
        if sizes.tied_embeddings and move.target == names["embedding"]:
            yield names["head"], values.reshape(move.shape)


def _header(folder: Path) -> Header:
    return read_header(next(folder.rglob("*.gguf")))
