"""Which GPUs a model runs on: what divides it, what fits, and the nearest choice when asked for neither."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from pathlib import Path

from builder.architecture import Dimensions, MixtureDimensions
from builder.errors import UsageError
from builder.planning.memory import GIB, Memory, cache_bytes_per_token, on_gpu, stage_bytes, table_bytes
from builder.quantization import Quantization

Model = tuple[Dimensions, Quantization]

MOST_GPUS = 8
"""Of one host, as NVIDIA's HGX line has them; more are a cluster, which one Triton does not span."""


@dataclass(frozen=True)
class Gpu:
    """One row of data/gpus.toml; `memory` in bytes, `compute` the capability such as "9.0"."""

    name: str
    title: str
    memory: int
    compute: str
    bfloat16: bool


@dataclass(frozen=True)
class Split:
    """A model over tensor-parallel x pipeline-parallel GPUs.

    `experts` groups of the tensor-parallel ones share out the experts of each layer, and the GPUs of a group
    split each of its own. So a GPU has the same share of their bytes whatever that number is.
    """

    tensor: int = 1
    pipeline: int = 1
    experts: int = 1
    hosts: int = 1
    """They have as many GPUs each: `planning/hosts.py` refuses others."""

    @property
    def gpus(self) -> int:
        return self.tensor * self.pipeline

    @property
    def gpus_per_host(self) -> int:
        return self.gpus // self.hosts

    @property
    def expert_tensor(self) -> int:
        """Return how many GPUs an expert is split over, where `obstacle` finds nothing."""
        return max(1, self.tensor // self.experts)


@cache
def gpus() -> dict[str, Gpu]:
    """Return the table of GPUs by the name that `--gpu` takes."""
    text = (Path(__file__).parent.parent / "data" / "gpus.toml").read_text(encoding="utf-8")
    return {
        name: Gpu(name, row["title"], int(row["memory_gib"] * GIB), row["compute"], row["bfloat16"])
        for name, row in tomllib.loads(text).items()
    }


def gpu(name: str) -> Gpu:
    """Return one GPU; raise UsageError naming those in the table."""
    table = gpus()
    if name not in table:
        raise UsageError(f"--gpu {name!r} is not in the table", expected=f"one of {', '.join(table)}")
    return table[name]


Room = Callable[[Split], int]
"""Bytes on each GPU of a split besides weights and cache."""


def nothing(split: Split) -> int:
    return 0


def obstacle(dimensions: Dimensions, split: Split) -> str | None:
    """Say why the model cannot be divided so, or None.

    Tensor parallelism gives every GPU the same number of attention heads, and either whole KV
    heads or, beyond their number, copies of one: so tp divides the heads, and divides the KV heads
    or is a multiple of them (Megatron-LM, arXiv:1909.08053; grouped queries, arXiv:2305.13245).
    Groups that share out the experts have as many GPUs each, and as many experts.
    """
    heads, shared = dimensions.heads, dimensions.key_value_heads
    if heads % split.tensor:
        return f"--tp {split.tensor} does not divide the {heads} attention heads"
    if shared % split.tensor and split.tensor % shared:
        return f"--tp {split.tensor} neither divides the {shared} KV heads nor is a multiple of them"
    if dimensions.layers % split.pipeline:
        return f"--pp {split.pipeline} does not divide the {dimensions.layers} layers"
    if split.experts > 1 and isinstance(dimensions, MixtureDimensions):
        return _between_groups(dimensions.experts, split)
    return None


def _between_groups(experts: int, split: Split) -> str | None:
    if split.tensor % split.experts:
        ranks = f"{split.tensor} rank{'s' * (split.tensor > 1)}"
        return f"--ep {split.experts} does not divide the {ranks} of --tp {split.tensor}"
    return f"--ep {split.experts} does not divide the {experts} experts" if experts % split.experts else None


def nearest_groups(dimensions: Dimensions, tensor: int, asked: int) -> int:
    """Return the most groups, at most those asked for, that can share out the experts over so many GPUs."""
    experts = dimensions.experts if isinstance(dimensions, MixtureDimensions) else 1
    return next(groups for groups in range(asked, 0, -1) if not tensor % groups and not experts % groups)


def fill(
    dimensions: Dimensions,
    quantization: Quantization,
    split: Split,
    card: Gpu,
    context: int,
    concurrency: int | None,
    beside: Model | None = None,
    adapters: Room = nothing,
) -> Memory:
    """Return what each GPU of the split holds, `beside` included: a model that reads the same tokens.

    `adapters` tells how many bytes LoRA adapters take there. Of several pipeline stages it is the fullest.
    """
    held = [(dimensions, quantization), *([beside] if beside else [])]
    weights = sum(ceil(stage_bytes(*model, split.pipeline) / split.tensor) for model in held)
    per_token = sum(
        ceil(cache_bytes_per_token(sizes, kept.cache_bytes, split.tensor) / split.pipeline)
        for sizes, kept in held
    )
    table = sum(table_bytes(*model) // split.tensor for model in held)
    found = on_gpu(card.memory, weights, per_token, context, concurrency, adapters(split))
    return replace(found, table=table)


def alternatives(
    dimensions: Dimensions,
    quantization: Quantization,
    asked: Split,
    card: Gpu,
    context: int,
    concurrency: int,
    most: int,
    beside: Model | None = None,
    adapters: Room = nothing,
) -> list[str]:
    """Return options that work when added to what was asked, nearest first; `most` GPUs at the most."""

    def room(split: Split, on: Gpu) -> int:
        return fill(dimensions, quantization, split, on, context, None, beside, adapters).sequences

    def works(split: Split, on: Gpu) -> bool:
        sizes = [dimensions, *([beside[0]] if beside else [])]
        return not any(obstacle(one, split) for one in sizes) and room(split, on) >= concurrency

    def choice(on: Gpu, tensor: int, more: str = "") -> str:
        groups = nearest_groups(dimensions, tensor, asked.experts)
        other = f" --ep {groups}" if groups != asked.experts else ""
        other += " --hosts 1" if asked.hosts > 1 else ""
        return f"--gpu {on.name} --tp {tensor}{' --pp 1' if asked.pipeline > 1 else ''}{other}{more}"

    sizes = sorted(range(1, most + 1), key=lambda tensor: (abs(tensor - asked.tensor), -tensor))
    found = [
        f"--gpu {card.name} --tp {split.tensor} --pp {split.pipeline}"
        for split in _other_stages(dimensions, asked, most)
        if works(split, card)
    ][:2]
    found += [choice(card, size) for size in sizes if works(Split(size), card)][:2]
    larger = sorted((row for row in gpus().values() if row.memory > card.memory), key=lambda row: row.memory)
    whole = Split(asked.tensor)
    if asked.tensor > most or obstacle(dimensions, whole):
        whole = Split()
    found += [choice(row, whole.tensor) for row in larger if works(whole, row)][:1]
    shorter = _longest_context(dimensions, quantization, whole, card, concurrency, beside, adapters)
    if 0 < shorter < context:
        found.append(choice(card, whole.tensor, f" --max-context {shorter}"))
    fewer = room(whole, card)
    if 0 < fewer < concurrency:
        found.append(choice(card, whole.tensor, f" --concurrency {fewer}"))
    return found


def _other_stages(dimensions: Dimensions, asked: Split, most: int) -> list[Split]:
    """Return splits over stages that divide the layers, nearest first; none where those asked for do."""
    layers = dimensions.layers
    if not layers % asked.pipeline:
        return []
    stages = sorted(range(2, layers + 1), key=lambda count: (abs(count - asked.pipeline), -count))
    found = [replace(asked, pipeline=count) for count in stages if not layers % count]
    return [one for one in found if not one.gpus % one.hosts and one.gpus_per_host <= most]


def _longest_context(
    dimensions: Dimensions,
    quantization: Quantization,
    split: Split,
    card: Gpu,
    sequences: int,
    beside: Model | None,
    adapters: Room,
) -> int:
    """Return the longest context of which `sequences` fit, rounded down to a multiple of 256 tokens."""
    tokens = fill(dimensions, quantization, split, card, 1, None, beside, adapters).tokens // sequences
    return min(tokens, dimensions.context_length) // 256 * 256
