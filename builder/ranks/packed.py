"""Which tensors a quantised rank has, their types and shapes: decided before a weight is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from builder import safetensors_file
from builder.errors import PlanError
from builder.ranks import quantization
from builder.ranks.layout import RankFile, RankTensor
from builder.ranks.quantization import Quantization
from builder.source import TensorInfo

MODULES = ("attention.qkv", "attention.dense", "mlp.fc", "mlp.gate", "mlp.proj")
"""The matrices of a layer; embedding, router and head stay as they are, as in ModelOpt."""

CACHE_SCALES = ("kv_cache_scaling_factor", "k_cache_scaling_factor", "v_cache_scaling_factor")
"""Up to 0.16 the first is read, 1.x takes the larger of the others."""


def module(tensor: RankTensor) -> str | None:
    """Return which of MODULES has this weight, None for none of them."""
    names = (name for name in MODULES if tensor.info.name.endswith(f".{name}.weight"))
    return next(names, None)


def experts(tensor: RankTensor) -> int:
    """Return how many matrices are stacked in a tensor."""
    return tensor.info.shape[0] if len(tensor.info.shape) == 3 else 1


def planned(ranks: Sequence[RankFile], way: Quantization, dtype: str, cache: bool) -> list[RankFile]:
    """Return the quantised ranks; their quantised tensors have no pieces.

    Args:
        ranks: as they are unquantised.
        way: how.
        dtype: safetensors' name of the model's own numbers.
        cache: whether there are scales of the KV cache.

    Raises:
        PlanError: sizes that groups or bytes do not divide, or experts that the way has no kernel for.
    """
    return [_planned(rank, way, dtype, cache) for rank in ranks]


def _planned(rank: RankFile, way: Quantization, dtype: str, cache: bool) -> RankFile:
    tensors: list[RankTensor] = []
    for tensor in rank.tensors:
        name = module(tensor)
        if name is None:
            tensors.append(tensor)
            continue
        _require_divisible(tensor, way, rank.name)
        tensors += [RankTensor(info, ()) for info in infos(tensor, way, dtype).values()]
        if cache and name == "attention.qkv":
            prefix = tensor.info.name.removesuffix("qkv.weight")
            tensors += [RankTensor(_info(prefix + scale, (1,), "F32"), ()) for scale in CACHE_SCALES]
    # wider types first, so that each tensor is aligned
    tensors.sort(key=lambda one: -safetensors_file.BITS[one.info.dtype])
    return replace(rank, tensors=tuple(tensors))


def infos(tensor: RankTensor, way: Quantization, dtype: str) -> dict[str, TensorInfo]:
    """Return what a quantised tensor is stored in, by what follows its module's name; `weight` first."""
    prefix = tensor.info.name.removesuffix("weight")
    found = {"weight": _info(prefix + "weight", _packed(tensor, way), way.NUMBER)}
    for name, own in way.SCALES.items():
        kind = dtype if name == quantization.PREQUANT else "F32"
        found[name] = _info(prefix + name, _shape(tensor, way, own), kind)
    return found


def _packed(tensor: RankTensor, way: Quantization) -> tuple[int, ...]:
    *stack, outputs, inputs = tensor.info.shape
    return (*stack, outputs // way.PER_BYTE, inputs)


def _shape(tensor: RankTensor, way: Quantization, own: str) -> tuple[int, ...]:
    *stack, outputs, inputs = tensor.info.shape
    shapes: Mapping[str, tuple[int, ...]] = {
        quantization.EACH: (*stack, 1),
        quantization.LAYER: (1,),
        quantization.OUTPUT: (*stack, outputs),
        quantization.GROUP: (*stack, outputs, inputs // (way.GROUP_SIZE or inputs)),
        quantization.INPUT: (*stack, inputs),
    }
    return shapes[own]


def _info(name: str, shape: tuple[int, ...], dtype: str) -> TensorInfo:
    return TensorInfo(name, shape, dtype, safetensors_file.nbytes(shape, dtype))


def _require_divisible(tensor: RankTensor, way: Quantization, rank: str) -> None:
    *stack, outputs, inputs = tensor.info.shape
    name = tensor.info.name.removesuffix(".weight")
    if stack and not way.EXPERTS:
        raise PlanError(
            f"{name} is {stack[0]} experts: TensorRT-LLM has no kernel of {way.ALGORITHM} for them",
            expected="a way that it has one for, such as FP8",
            remedy="pass --method fp8",
        )
    if way.GROUP_SIZE and inputs % way.GROUP_SIZE:
        raise PlanError(
            f"{rank}: {name} has {inputs:,} inputs, which groups of {way.GROUP_SIZE} do not divide",
            expected=f"a multiple of {way.GROUP_SIZE} on each rank",
            remedy="use fewer tensor-parallel ranks, or a way without groups, such as --method fp8",
        )
    if outputs % way.PER_BYTE:
        raise PlanError(
            f"{rank}: {name} has {outputs:,} outputs, of which {way.PER_BYTE} share a byte",
            expected=f"a multiple of {way.PER_BYTE} on each rank",
            remedy="use fewer tensor-parallel ranks, or a way of 8 bits, such as --method fp8",
        )


def quantised_sources(ranks: Sequence[RankFile]) -> Iterator[str]:
    """Yield the names of the source's matrices that are quantised, each once."""
    seen = set()
    for rank in ranks:
        for tensor in rank.tensors:
            for piece in tensor.pieces if module(tensor) else ():
                if piece.source not in seen:
                    seen.add(piece.source)
                    yield piece.source
