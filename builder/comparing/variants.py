"""The variants of a model: every quantization that a target of its pipeline serves on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from builder import house
from builder.errors import UsageError
from builder.plan import Options, Subject
from builder.planning import mixing
from builder.quantization import Quantization

MIXED = "mixed"
"""The value of --quantize that --fit stands for, where there is one: by itself it says not how large."""


@dataclass(frozen=True)
class Variant:
    """One way to keep a model's weights: a quantization of a target, or a mixture that fits so many bytes.

    `quantize` is "" for a mixture, `target` "" where the plan chooses it; `fit` is its bytes, else 0.
    """

    target: str
    quantize: str
    fit: int = 0

    @property
    def label(self) -> str:
        """What people call it."""
        kind = f"fit-{self.fit / 1e6:g}MB" if self.fit else self.quantize
        return f"{self.target}/{kind}" if self.target else kind

    @property
    def folder(self) -> str:
        """What its folder is called, beside those of the others."""
        return self.label.replace("/", "-")

    def options(self, asked: Options) -> Options:
        """Return what its plan is asked for, the rest as for all of them.

        Texts to calibrate with are for those that measure scales.
        """
        chosen = replace(asked, target=self.target or None, quantize=self.quantize or None)
        if self.fit:
            return replace(chosen, fit=self.fit)
        if not _quantization(self.quantize).calibrated:
            chosen = replace(chosen, calibration=None, workload=None)
            chosen = replace(chosen, calibration_samples=None, calibration_length=None)
        return chosen


def variants(
    subject: Subject,
    asked: Options,
    quantizations: Sequence[str],
    targets: Sequence[str],
    fits: Sequence[int],
) -> tuple[Variant, ...]:
    """Return what there is for the subject on the device that is asked for, the most bits first.

    Args:
        quantizations: values of --quantize, all that there are where none is named.
        targets: values of --target, likewise.
        fits: bytes that a mixture may have, one variant each.

    Raises:
        UsageError: a value that does not exist, a model that has no variants, or none for the device.
    """
    _require_variable(subject)
    for name in targets:
        house.plugin("targets", name, option="--target")
    for name in quantizations:
        house.plugin("quantizations", name, option="--quantize")
    device = "gpu" if asked.gpu else "cpu"
    every = [one for one in _served(subject, device) if not targets or one.target in targets]
    found = [one for one in every if not quantizations or one.quantize in quantizations]
    absent = [name for name in quantizations if all(one.quantize != name for one in found)]
    if absent or not (found or fits):
        on = f" by target {' or '.join(targets)}" if targets else ""
        raise UsageError(
            f"no {', '.join(absent) or 'variant'} of {subject.name}{on} runs on a {device.upper()}",
            expected=f"--quantize of {', '.join(dict.fromkeys(one.quantize for one in every)) or 'none'}",
            remedy="leave --target out, or name a GPU with --gpu" if device == "cpu" else "leave --gpu out",
        )
    mixed = targets[0] if len(targets) == 1 else ""
    return (*found, *(Variant(mixed, "", size) for size in sorted(set(fits), reverse=True)))


def _served(subject: Subject, device: str) -> list[Variant]:
    found = [
        (quantization.weight_bits, Variant(target, name))
        for name, quantization in _quantizations()
        for target, support in quantization.targets.items()
        # a mixture is one for each size
        if name != mixing.QUANTIZATION
        if device in support.devices and _runs(target, subject, device)
    ]
    return [one for _, one in sorted(found, key=lambda each: (-each[0], each[1].label))]


def _runs(target: str, subject: Subject, device: str) -> bool:
    way: Any = house.plugin("targets", target, option="--target")
    return subject.pipeline in way.PIPELINES and bool(way.ENGINES.get(device))


def _quantizations() -> Iterator[tuple[str, Quantization]]:
    for name in house.plugin_names("quantizations"):
        if name != MIXED:
            yield name, _quantization(name)


def _quantization(name: str) -> Quantization:
    found: Quantization = house.plugin("quantizations", name, option="--quantize").QUANTIZATION
    return found


def _require_variable(subject: Subject) -> None:
    if subject.pipeline != "text_generation":
        raise UsageError(
            f"{subject.name} is for {subject.pipeline}, and expects no next token",
            expected="a model that generates text",
            remedy="build it in each --quantize, and compare by `builder measure --compare A B`",
        )
    if subject.stored is not None:
        raise UsageError(
            f"{subject.origin} is quantised already ({subject.stored.scheme}): it has one variant",
            expected="plain weights, in float32, bfloat16 or float16",
            remedy="pass the checkpoint that it was made of with --checkpoint",
        )
