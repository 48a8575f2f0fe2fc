"""safetensors, as engines read checkpoints that nothing was converted of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import safetensors_file
from builder.errors import ConversionError
from builder.kept import Kept

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def tensors(folder: Path) -> list[Kept]:
    """Return what the headers say of every tensor."""
    return [
        Kept(one.name, one.shape, one.dtype, one.nbytes, is_matrix=len(one.shape) > 1)
        for path in sorted(folder.rglob("*.safetensors"))
        for one in safetensors_file.read_header(path).tensors.values()
    ]


def stands_in(tensor: Kept, promised: tuple[str, ...]) -> tuple[str, str]:
    """Return the first of what was promised: the checkpoint was taken as it lies."""
    return promised[0], "as the checkpoint has it"


def weights(folder: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Refuse: the source itself is proven with these very numbers."""
    raise ConversionError(f"{folder} holds the checkpoint itself: nothing was converted that could differ")
