"""What an engine's weights and its KV cache are kept in, and what of that does not go together."""

from __future__ import annotations

from builder import engine_layouts, house
from builder.architecture import Dimensions, MixtureDimensions
from builder.errors import PlanError, UsageError
from builder.planning import placement
from builder.planning.placement import Split
from builder.ranks import division, quantization
from builder.ranks.division import Division
from builder.target import Placed


def is_rounded(quantize: str) -> bool:
    """Say whether a conversion rounds weights, or finds them rounded: by what the plan calls them."""
    return quantize in (*quantization.names(), *house.plugin_names("ranks.stored_formats"))


def method(placed: Placed) -> str:
    """Return the file of `ranks/quantizations/` that lays the weights, "" where they are written plain."""
    if placed.stored is not None:
        return quantization.named(placed.stored.kernels[engine_layouts.TARGET].method)
    return placed.precision if is_rounded(placed.precision) else ""


def require(placed: Placed) -> None:
    """Raise UsageError or PlanError for a cache without scales, groups that GPUs cut, and experts.

    Also for what the converter does not share out so.
    """
    split = placed.split
    division.require_divisible(placed.dimensions, Division(split.tensor, split.pipeline, split.experts))
    _require_scales(placed)
    laid = method(placed)
    if laid:
        _require_room(placed, laid)


def _require_scales(placed: Placed) -> None:
    found, remedy = f"--kv-cache {placed.cache_type}: its scales are measured while weights are", ""
    if not placed.cache_type:
        return
    if placed.stored is not None and placed.cache_type != placed.stored.cache:
        found += ", and the checkpoint, which is quantised already, brings none"
        remedy = ", or pass the checkpoint that it was made of with --quantize fp8"
    elif placed.stored is None and not method(placed):
        found += f" quantised, and {placed.precision} measures none"
    else:
        return
    raise UsageError(
        found,
        expected="--quantize fp8, which has such a cache, or another that measures scales",
        remedy=f"leave --kv-cache out{remedy}",
    )


def _require_room(placed: Placed, laid: str) -> None:
    way, sizes = quantization.load(laid), placed.dimensions
    other = "--target vllm" if placed.stored else "--quantize fp8"
    if isinstance(sizes, MixtureDimensions) and not way.EXPERTS:
        raise PlanError(
            f"{placed.name} has {sizes.experts} experts in a layer: TensorRT-LLM has no kernel of "
            f"{way.ALGORITHM} for them",
            expected="a way that it has one for, such as FP8",
            remedy=f"use {other}",
        )
    for what, inputs in _inputs(sizes, placed.split).items():
        if way.GROUP_SIZE and inputs % way.GROUP_SIZE:
            raise PlanError(
                f"{placed.name}: {what} have {inputs:,} inputs on each GPU, which groups of "
                f"{way.GROUP_SIZE} of {way.ALGORITHM} do not divide",
                expected=f"a multiple of {way.GROUP_SIZE}",
                remedy=f"use {_smaller(placed, way.GROUP_SIZE)}{other}",
            )


def _smaller(placed: Placed, group: int) -> str:
    """Return the largest --tp below the one that was asked for of which groups lie whole on each GPU."""
    asked, sizes = placed.split, placed.dimensions
    for tensor in range(asked.tensor - 1, 0, -1):
        experts = placement.nearest_groups(sizes, tensor, asked.experts)
        split = Split(tensor, asked.pipeline, experts)
        whole = not any(inputs % group for inputs in _inputs(sizes, split).values())
        if whole and placement.obstacle(sizes, split) is None:
            return f"--tp {tensor}{f' --ep {experts}' if experts != asked.experts else ''}, or "
    return ""


def _inputs(sizes: Dimensions, split: Split) -> dict[str, int]:
    """Return how many inputs a GPU reads in each matrix; they are shared out where outputs are added up."""
    return {
        "layers": sizes.hidden_size,
        "attention's outputs": sizes.heads * sizes.head_size // split.tensor,
        "feed-forward outputs": sizes.intermediate_size // split.expert_tensor,
    }
