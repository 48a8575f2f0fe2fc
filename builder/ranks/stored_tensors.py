"""What is read of a checkpoint that is quantised already: its matrices, and the scales of its cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from builder.errors import SourceError
from builder.ranks import matrices, reading, rounding
from builder.ranks.headers import Tensors
from builder.ranks.quantization import Matrix


class Matrices(Mapping[str, Matrix]):
    """Quantised matrices by name; each is read when it is asked for.

    Args:
        tensors: of the checkpoint.
        made: turns the parts of one into a matrix.
        dtype: safetensors' name of the type that smoothings are to have.
    """

    def __init__(self, tensors: Tensors, made: Callable[[Mapping[str, Any]], Matrix], dtype: str) -> None:
        self._tensors, self._made, self._dtype = tensors, made, dtype

    def __getitem__(self, name: str) -> Matrix:
        import torch

        tensors = self._tensors
        found = self._made({part: _read(tensors, one) for part, one in tensors.parts[name].items()})
        for what, value in (("scales", found.scale), ("scale of its inputs", found.input)):
            if value is not None and not bool((torch.isfinite(value) & (value > 0)).all()):
                raise SourceError(
                    f"{tensors.checkpoint.origin}: {name} has {what} that are not above 0, or not finite",
                    expected="numbers above 0",
                    remedy="fetch the file again",
                )
        wanted = getattr(torch, matrices.TORCH[self._dtype])
        smoothing = torch.ones(found.weight.shape[1]) if found.smoothing is None else found.smoothing
        return replace(found, smoothing=smoothing.to(wanted))

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors.parts)

    def __len__(self) -> int:
        return len(self._tensors.parts)


def caches(tensors: Tensors, names: tuple[str, str], key: str) -> dict[str, tuple[Any, Any]]:
    """Return the largest key and value that the scales of each layer stand for.

    Args:
        tensors: of the checkpoint.
        names: endings of the scales of keys and values, by what follows the name of the attention.
        key: the name of the matrix that makes the keys, with `{layer}`.

    Raises SourceError for a layer without them.
    """
    found = {}
    for layer in range(len(tensors.parts)):
        name = key.format(layer=layer)
        if name not in tensors.parts:
            break
        attention = name.rsplit(".", 2)[0]
        scales = [_read(tensors, f"{attention}.{ending}").float() for ending in names]
        found[name] = (scales[0] * rounding.FLOAT8_LARGEST, scales[1] * rounding.FLOAT8_LARGEST)
    return found


def _read(tensors: Tensors, name: str) -> Any:
    from safetensors import safe_open

    if name not in tensors.checkpoint.tensors:
        raise SourceError(
            f"{tensors.checkpoint.origin} holds no {name}",
            expected="scales of the KV cache in every layer, as its config says",
            remedy="fetch the checkpoint again, or serve it with --target vllm",
        )
    place = reading.places(tensors.checkpoint, [name])[0]
    with safe_open(place.path, framework="pt") as file:
        return file.get_tensor(name)
