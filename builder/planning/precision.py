"""What weights are kept in: what --quantize names, or what the checkpoint has them in already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from builder import house, quantization
from builder.architecture import Dimensions, MixtureDimensions
from builder.calibration import texts
from builder.errors import PlanError, UsageError
from builder.planning import mixing
from builder.planning.asked import Options, Sizes, Subject
from builder.planning.placement import Gpu, Split
from builder.quantization import Budget, Limits, Quantization, Support, Tolerance
from builder.target import Target
from builder.weight_format import Stored

KEPT = Budget(0.02, 0.95, held_out=Limits(perplexity=1.01, divergence=0.01, agreement=0.97))
"""Of weights that are as the checkpoint holds them, where activations have 16 bits: bf16's."""
ROUNDED = Budget(0.05, 0.9, held_out=Limits(perplexity=1.03, divergence=0.03, agreement=0.93))
"""Where activations or the KV cache have 8 bits or fewer: int8's."""
HALVES, UNROUNDED = ("bf16", "fp16"), 16
CACHE_BYTES = {"bf16": 2, "fp16": 2, "fp8": 1, "int8": 34 / 32}
"""Value of --kv-cache -> bytes of an element with its share of scales: of int8 llama.cpp's 2 for each 32, and
vLLM's 4 for each head, which are as many where it has 64 elements and fewer where it has more."""


@dataclass(frozen=True)
class Precision:
    """The value of --quantize, what it means, what the converter is told of it, and what is computed in.

    `cache_type` is what the KV cache is kept in, "" for what is computed in.
    """

    name: str
    quantization: Quantization
    arguments: tuple[str, ...]
    computed_in: str
    cache_type: str


def quantization_of(
    name: str, stored: Stored | None, cache_type: str, sizes: Sizes, target: str = ""
) -> Quantization:
    """Return what bytes and budgets follow from what was chosen; what --kv-cache says goes first."""
    if stored is None:
        found = quantization.served(name, target)
        if found.bytes_of is not None:
            found = replace(found, weight_bytes=found.bytes_of(sizes))
    else:
        found = _as_stored(stored, sizes)
    if not cache_type:
        return found
    size = CACHE_BYTES[cache_type]
    rounded = (found.budget, ROUNDED) if size < CACHE_BYTES["fp16"] else (found.budget,)
    return replace(found, cache_bytes=size, budget=max(rounded, key=lambda budget: budget.divergence))


def choose(
    subject: Subject,
    asked: str | None,
    asked_cache: str | None,
    wanted: str,
    target: tuple[str, Target],
    card: Gpu | None,
    precisions: tuple[str, ...],
) -> Precision:
    """Return what was asked for, or else what is `wanted`; what is quantised already stays as it is.

    Raises UsageError where the target does not serve that on the device.
    """
    name, device = target[0], "gpu" if card else "cpu"
    stored = subject.stored
    if stored is None:
        chosen = asked or wanted
        support = _support(chosen, quantization.load(chosen), name, device, precisions)
        _require_kernels(chosen, support, name, card)
        computed_in = _half(wanted, card) if support.weights_alone else chosen
        cache_type = _cache_type(asked_cache, "", target, device, computed_in)
        found = quantization_of(chosen, None, cache_type, subject.dimensions, name)
        found = replace(found, shares_tied=found.shares_tied and getattr(target[1], "SHARES_TIED", True))
        return Precision(chosen, found, support.arguments, computed_in, cache_type)
    _require_own(subject, stored, asked)
    require_taken(subject, stored, name, card)
    cache_type = _cache_type(asked_cache, stored.cache, target, device, wanted)
    found = quantization_of(stored.name, stored, cache_type, subject.dimensions)
    if found.weight_bytes is not None and not getattr(target[1], "SHARES_TIED", True):
        found = replace(found, weight_bytes=found.weight_bytes + _second_table(subject.dimensions))
    return Precision(stored.name, found, (), wanted, cache_type)


def _half(wanted: str, card: Gpu | None) -> str:
    """Return the 16 bits that are computed in beside weights of fewer."""
    if wanted in HALVES:
        return wanted
    return "bf16" if card is None or card.bfloat16 else "fp16"


def _require_kernels(name: str, support: Support, target: str, card: Gpu | None) -> None:
    """Raise UsageError for a GPU that computes nothing in such numbers."""
    if card is None or not support.compute or _number(card.compute) >= _number(support.compute):
        return
    raise UsageError(
        f"--quantize {name}: {card.title} has compute capability {card.compute}, and no kernels for it",
        expected=f"at least {support.compute} for {name} by target {target}",
        remedy=f"choose --quantize {' or '.join(_kinder(target, card)) or 'bf16'}, or name another GPU",
    )


def _kinder(target: str, card: Gpu) -> list[str]:
    """Return what a target serves on a GPU with weights of fewer than 16 bits."""
    found = []
    for name in house.plugin_names("quantizations"):
        one = quantization.load(name)
        support = one.targets.get(target)
        able = support is not None and "gpu" in support.devices and one.weight_bits < UNROUNDED
        if able and support and _number(card.compute) >= _number(support.compute or "0"):
            found.append(name)
    return found


def require_calibrated(option: str, asked: str | None, chosen: Precision) -> None:
    """Raise UsageError for a file of texts where no scales are measured with any, or that cannot be read."""
    if asked is None:
        return
    if not chosen.quantization.calibrated:
        raise UsageError(
            f"{option} {asked}: {chosen.name} measures no scales",
            expected=f"--quantize {' or '.join(_calibrated())}",
            remedy=f"leave {option} out",
        )
    texts.read(Path(asked), option)


def require_samples(options: Options, chosen: Precision) -> None:
    """Raise UsageError for more texts than there are, or for any number where no scales are measured."""
    asked = {"samples": options.calibration_samples, "length": options.calibration_length}
    for what, number in asked.items():
        if number is not None and not chosen.quantization.calibrated:
            raise UsageError(
                f"--calibration-{what} {number}: {chosen.name} measures no scales",
                expected=f"--quantize {' or '.join(_calibrated())}",
                remedy=f"leave --calibration-{what} out",
            )
    if options.calibration_samples is not None:
        path = Path(options.calibration) if options.calibration else texts.SHIPPED
        texts.first(texts.read(path), options.calibration_samples)


def require_groups(subject: Subject, chosen: Precision) -> None:
    """Raise PlanError where the inputs of a matrix are no whole groups, or experts would need texts each."""
    group, sizes = chosen.quantization.group, subject.dimensions
    if subject.stored is not None or not group or not isinstance(sizes, Dimensions):
        return
    if isinstance(sizes, MixtureDimensions):
        raise PlanError(
            f"{subject.name}: --quantize {chosen.name} rounds no experts: few tokens reach each of them",
            expected="a dense decoder",
            remedy="round without texts, by --quantize int4",
        )
    widths = {
        "hidden size": sizes.hidden_size,
        "attention output": sizes.heads * sizes.head_size,
        "intermediate size": sizes.intermediate_size,
    }
    for what, width in widths.items():
        if width % group:
            raise PlanError(
                f"{subject.name}: its {what} of {width} is no whole number of groups of {group}, which share "
                f"a scale by --quantize {chosen.name}",
                expected=f"a multiple of {group}",
                remedy="choose --quantize int4, which has groups of 32 and takes a shorter last one",
            )


def _calibrated() -> list[str]:
    # a mixture has its own option
    every = [name for name in house.plugin_names("quantizations") if name != mixing.QUANTIZATION]
    return [
        name
        for name in every
        if house.plugin("quantizations", name, option="--quantize").QUANTIZATION.calibrated
    ]


def require_divisible(subject: Subject, split: Split) -> None:
    """Raise PlanError where weights that are quantised already cannot be shared by so many GPUs."""
    stored, sizes = subject.stored, subject.dimensions
    if stored is None or split.tensor == 1 or not isinstance(sizes, Dimensions):
        return
    if not stored.splits:
        raise PlanError(
            f"{subject.name}: {stored.name} weights cannot be shared by --tp {split.tensor} GPUs",
            expected="whole layers on each GPU: a block's scales belong to the whole matrix",
            remedy=f"use `--pp {split.tensor}`, or a checkpoint that is quantised otherwise",
        )
    rows = {
        "attention": (sizes.heads * sizes.head_size, split.tensor),
        "feed-forward": (sizes.intermediate_size, split.expert_tensor),
    }
    for what, (inputs, parts) in rows.items():
        if stored.group and inputs % (parts * stored.group):
            raise PlanError(
                f"{subject.name}: --tp {split.tensor} parts the {inputs} inputs of its {what} layers within "
                f"a group of {stored.group} weights that share a scale",
                expected=f"a multiple of {stored.group} on each GPU",
                remedy="use a smaller --tp",
            )


def _as_stored(stored: Stored, sizes: Sizes) -> Quantization:
    return Quantization(
        title=stored.scheme,
        weight_bits=stored.bits,
        embedding_bits=16,
        cache_bytes=2,
        shares_tied=True,
        budget=ROUNDED if stored.rounds_activations else KEPT,
        tolerance=Tolerance(cosine=0.99),
        targets={target: Support(frozenset({"gpu"})) for target in stored.kernels},
        weight_bytes=stored.weight_bytes or _estimated(stored, sizes),
    )


def _second_table(sizes: Sizes) -> int:
    """Return the bytes of a tied head that lies beside its embedding."""
    if not isinstance(sizes, Dimensions) or not sizes.tied_embeddings:
        return 0
    return sizes.vocabulary_size * sizes.hidden_size * 2


def _estimated(stored: Stored, sizes: Sizes) -> int:
    """Return about how many bytes there are: embedding and head are seldom quantised."""
    if not isinstance(sizes, Dimensions):
        return sizes.parameters * 4
    tables = (1 if sizes.tied_embeddings else 2) * sizes.vocabulary_size * sizes.hidden_size
    return int((sizes.parameters - tables) * stored.bits / 8) + tables * 2


def _require_own(subject: Subject, stored: Stored, asked: str | None) -> None:
    if asked is not None and asked.replace("-", "_") != stored.name:
        raise UsageError(
            f"--quantize {asked}: {subject.origin} is quantised already ({stored.scheme})",
            expected=f"no --quantize, or --quantize {stored.name}: its weights are served as they lie",
            remedy="pass the checkpoint that it was made of to quantise it otherwise",
        )


def require_taken(subject: Subject, stored: Stored, target: str, card: Gpu | None) -> None:
    """Raise UsageError where the target, on that GPU, does not run weights as they lie."""
    found = f"{subject.origin} is quantised already ({stored.scheme})"
    if target not in stored.kernels:
        able = ", ".join(f"--target {name}" for name in stored.kernels if _serves(name, subject))
        reason = f": {stored.refused[target]}" if target in stored.refused else ""
        raise UsageError(
            f"{found}, which target {target} does not take{reason}",
            expected="plain weights, in float32, bfloat16 or float16" + (f", or {able}" if able else ""),
            remedy="pass the checkpoint that it was made of"
            + (f", or use {able} with --gpu" if able else ""),
        )
    if card is None:
        raise UsageError(
            f"{found}, which target {target} does not run on a CPU", remedy="name a GPU with --gpu"
        )
    kernel = stored.kernels[target]
    too_new = bool(kernel.below) and _number(card.compute) >= _number(kernel.below)
    if too_new or _number(card.compute) < _number(kernel.compute):
        limits = f"at least {kernel.compute}{f' and below {kernel.below}' if kernel.below else ''}"
        raise UsageError(
            f"{found}; {card.title} has compute capability {card.compute}",
            expected=f"{limits}, by {target}'s own {kernel.method}",
            remedy="name another GPU, or pass a checkpoint with plain weights",
        )


def _serves(target: str, subject: Subject) -> bool:
    return subject.pipeline in house.plugin("targets", target, option="--target").PIPELINES


def _number(compute: str) -> tuple[int, ...]:
    return tuple(int(part) for part in compute.split("."))


def _cache_type(
    asked: str | None, stated: str, target: tuple[str, Target], device: str, computed_in: str
) -> str:
    """Return what the KV cache is kept in: what was asked for, else what the weights were calibrated for."""
    offered = cast(dict[str, Any], getattr(target[1], "CACHE_TYPES", {}))
    chosen = asked or (stated if stated in offered else "")
    if not chosen:
        return ""
    kept = [name for name in offered if CACHE_BYTES[name] < CACHE_BYTES["fp16"] or name == computed_in]
    if chosen not in kept:
        raise UsageError(
            f"--kv-cache {chosen}: target {target[0]} does not keep it so beside {computed_in} on a "
            f"{device.upper()}",
            expected=_listed(kept) if kept else "no --kv-cache for this target",
        )
    return "" if chosen == computed_in and not stated else chosen


def _listed(names: Sequence[str]) -> str:
    return f"one of {', '.join(names)}"


def _support(
    name: str, found: Quantization, target: str, device: str, precisions: tuple[str, ...]
) -> Support:
    support = found.targets.get(target)
    if support and device in support.devices and name in (precisions or (name,)):
        return support
    offered = [
        other
        for other in precisions or house.plugin_names("quantizations")
        if device in _devices(house.plugin("quantizations", other, option="--quantize").QUANTIZATION, target)
    ]
    reason = f": {support.refused[device]}" if support and device in support.refused else ""
    if not offered and device == "cpu":
        # whatever --quantize says: nothing of this target is for a CPU
        raise UsageError(
            f"target {target} runs nothing on a CPU{reason}; no GPU was named",
            expected="--gpu GPU",
            remedy="name a GPU with --gpu, or choose another target (`builder list`)",
        )
    remedy = f"choose one of {', '.join(offered)}" if offered else "choose another target (`builder list`)"
    raise UsageError(
        f"target {target} does not serve --quantize {name} on a {device.upper()}{reason}", remedy=remedy
    )


def _devices(found: Quantization, target: str) -> frozenset[str]:
    support = found.targets.get(target)
    return support.devices if support else frozenset()
