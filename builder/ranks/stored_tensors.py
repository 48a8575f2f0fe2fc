"""The tensors of a checkpoint that is quantised already: which make up a matrix, and which it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from builder import architecture, safetensors_file, weight_format
from builder.errors import SourceError
from builder.ranks import matrices, reading, rounding
from builder.ranks.quantization import Matrix
from builder.source import Checkpoint, TensorInfo


@dataclass(frozen=True)
class Tensors:
    """What there is.

    `as_plain` has every weight as if none were quantised, `parts` of those that are name -> what follows the
    module's name -> the tensor. `dtype` is safetensors' name of the type of all others.
    """

    checkpoint: Checkpoint
    as_plain: Mapping[str, TensorInfo]
    parts: Mapping[str, Mapping[str, str]]
    dtype: str


def of(checkpoint: Checkpoint, head: str, cache: tuple[str, str]) -> Tensors:
    """Sort the tensors of a checkpoint.

    Args:
        checkpoint: of safetensors.
        head: the name of the head, which a tied model may have all the same.
        cache: endings of scales of the KV cache.

    Raises:
        SourceError: tensors that the config says nothing of, or several types.
    """
    kind = architecture.load(checkpoint.model_type)
    known = architecture.expected_tensors(kind, checkpoint.config, "safetensors", checkpoint.tensors)
    marks = weight_format.load(weight_format.description(checkpoint.config) or {}).MARKS
    owners = {
        name.removesuffix("weight"): name
        for name in known
        if any(name.removesuffix("weight") + mark in checkpoint.tensors for mark in marks)
    }
    parts: dict[str, dict[str, str]] = {name: {} for name in owners.values()}
    plain: dict[str, TensorInfo] = {}
    for name, info in checkpoint.tensors.items():
        module, _, part = name.rpartition(".")
        owner = owners.get(f"{module}.")
        if owner and (name == owner or name not in known):
            parts[owner][part] = name
        elif name in known or name == head:
            plain[name] = info
        elif not name.endswith((*cache, reading.IGNORED)):
            raise SourceError(
                f"{checkpoint.origin} holds {name}, of which its config says nothing",
                expected=f"the tensors of a quantised {checkpoint.model_type} of its config",
                remedy="take config.json from the model's own repository again",
            )
    dtype = reading.dtype(checkpoint.origin, plain)
    for name in parts:
        shape = known[name]
        if shape is None:
            raise TypeError(f"Bug: the shape of {name} is not known")
        plain[name] = TensorInfo(name, shape, dtype, safetensors_file.nbytes(shape, dtype))
    return Tensors(checkpoint, plain, parts, dtype)


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
