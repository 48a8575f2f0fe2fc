"""What a `--quantize` value states about itself; one file per value in `quantizations/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from builder import house


@dataclass(frozen=True)
class Support:
    """How one target serves a quantization.

    `devices` are `cpu` and `gpu`; `arguments` go to the target's own converter as they are. `converter` is
    the file of `exporting/` that converts instead of the target's usual one, "" for that. `kinds` are the
    types that its name promises of every matrix, as `builder/kept.py` calls them, none where it promises
    nothing: a matrix of another type stands in for one of these. `differing` are fields of the Quantization
    that are otherwise there, `engine` what its engine is told besides. With `weights_alone` all else is
    computed in 16 bits, those of the GPU. `compute` is the least capability of a GPU that has kernels for it,
    "" for any that the target runs on. `requirements` are modules with kernels that it lacks, and what
    installs each.
    """

    devices: frozenset[str]
    arguments: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    """Device -> why it is not offered there."""
    kinds: tuple[str, ...] = ()
    converter: str = ""
    differing: Mapping[str, Any] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    weights_alone: bool = False
    compute: str = ""
    requirements: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """The loss a build may have on held-out texts, against its source in float32.

    `perplexity` is how many times the source's it may be, `divergence` the mean KL divergence of next-token
    distributions in nats, `agreement` the share of tokens at which both must think the same one likeliest.
    """

    perplexity: float
    divergence: float
    agreement: float


@dataclass(frozen=True)
class Budget:
    """The loss a build may have against its source, in the source's own float32.

    `divergence` is the mean KL divergence of next-token distributions in nats, `agreement` the
    share of golden tokens that are also the source's first choice (ties within
    proving.prompts.EPSILON logits count as agreement). `held_out` is for what it reads instead of answers.
    """

    divergence: float
    agreement: float
    held_out: Limits


@dataclass(frozen=True)
class Tolerance:
    """How far the outputs of a model that answers in one pass may lie from its source's in float32.

    `cosine` is the least there may be between the two outputs for an input; `error` the largest difference of
    a number, infinite where only the direction counts.
    """

    cosine: float
    error: float = float("inf")


@dataclass(frozen=True)
class Quantization:
    """One way to store weights.

    `weight_bits` counts a weight of a matrix with its share of scales; `embedding_bits` one of the
    embedding table; `cache_bytes` one element of the KV cache. `shares_tied` is true when a tied
    head costs nothing beside its embedding. `budget` judges models that generate, `tolerance` all others.
    `weight_bytes` are those of all weights where a checkpoint has them so already, and `bytes_of` tells them
    where they follow from the model's dimensions; `head_bits` counts a weight of the head, where that is kept
    otherwise than the other matrices. `calibrated` says whether scales are measured by running the model on
    texts. `group` is how many inputs share a scale where every matrix must have whole groups, 0 where a last
    one may be short.
    """

    title: str
    weight_bits: float
    embedding_bits: float
    cache_bytes: float
    shares_tied: bool
    budget: Budget
    tolerance: Tolerance
    targets: Mapping[str, Support]
    weight_bytes: int | None = None
    bytes_of: Callable[[Any], int] | None = None
    head_bits: float | None = None
    calibrated: bool = False
    group: int = 0


def load(name: str) -> Quantization:
    """Return what a value of --quantize states; raise UsageError listing those that exist."""
    found: Quantization = house.plugin("quantizations", name, option="--quantize").QUANTIZATION
    return found


def served(name: str, target: str) -> Quantization:
    """Return what a value of --quantize states where a target serves it; "" is no target."""
    found = load(name)
    support = found.targets.get(target)
    return replace(found, **support.differing) if support else found


def converter(name: str, target: str) -> str:
    """Return the file of `exporting/` that converts to it for a target, "" for the target's usual one."""
    support = load(name).targets.get(target)
    return support.converter if support else ""
