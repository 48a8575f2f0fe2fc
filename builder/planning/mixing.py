"""`--fit`: which type each part of a model gets, so that what it takes when it is served is within a size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

from builder import architecture
from builder.architecture import Decoder, Dimensions, tensor_names
from builder.errors import PlanError, UsageError
from builder.gguf import mixes, parts
from builder.planning import fitting, sensitivities
from builder.planning.asked import Options, Question, Subject
from builder.planning.fitting import Choice
from builder.planning.memory import Memory
from builder.planning.mixture import Mixture, Part
from builder.planning.placement import Gpu
from builder.planning.sensitivities import Sensitivities

QUANTIZATION = "mixed"
"""The value of --quantize that --fit stands for."""

TARGET = "llamacpp"


def asked(subject: Subject, options: Options, kind: str, card: Gpu | None) -> str | None:
    """Return what --quantize stands for, with --fit too; raise UsageError where --fit does not go along."""
    if options.fit is None:
        if options.sensitivities is not None:
            raise UsageError("--sensitivities without --fit", expected="--fit SIZE, which they are for")
        if options.quantize == QUANTIZATION:
            raise UsageError(
                f"--quantize {QUANTIZATION} says not how large",
                expected="--fit SIZE instead, such as --fit 6GB",
            )
        return options.quantize
    found = f"--fit {_said(options.fit)}"
    if options.quantize not in (None, QUANTIZATION):
        raise UsageError(
            f"{found} and --quantize {options.quantize}: both say how weights are rounded",
            expected="one of them",
            remedy="leave --quantize out to fit a size, or --fit for one precision of all weights",
        )
    if kind != "generation" or not isinstance(subject.dimensions, Dimensions):
        raise UsageError(
            f"{found}: {subject.name} does not generate text",
            expected="a model that does: the engine that mixes types runs no other",
            remedy="name a --quantize instead (`builder list`)",
        )
    if card is not None or options.target not in (None, TARGET):
        where = f"--gpu {card.name}" if card else f"--target {options.target}"
        raise UsageError(
            f"{found} with {where}: all weights have one precision there",
            expected=f"--target {TARGET} on a CPU, whose matrices may have types of their own",
            remedy=f"leave out {where}, or name a --quantize instead of --fit (`builder list`)",
        )
    if subject.stored is not None:
        raise UsageError(
            f"{found}: {subject.origin} is quantised already ({subject.stored.scheme})",
            expected="plain weights, in float32, bfloat16 or float16",
            remedy="pass the checkpoint that it was made of",
        )
    return QUANTIZATION


def mix(question: Question, sizes: Dimensions, rest: Memory) -> Mixture:
    """Return the least lossy types with which weights take no more than is left beside the `rest`.

    Raises:
        PlanError: even the smallest types are too large; the message has the least size that fits.
        UsageError: sensitivities that cannot be read, or are another model's.
    """
    budget = question.options.fit
    assert budget is not None
    kinds = parts.kinds(question.subject.precision)
    known = _known(question.options, sizes, kinds)
    vectors = 4 * (sizes.parameters - _elements(sizes))
    ladders = _ladders(known, sizes, kinds)
    room = budget - rest.used - vectors
    found = fitting.fit(ladders, room)
    if found is None:
        least = vectors + sum(min(one.size for one in ladder) for ladder in ladders.values())
        raise _too_small(question, sizes, rest, least)
    largest = fitting.fit(ladders, 1 << 62)
    smallest = {part: next(one for one in ladder if one.kind == kinds[0]) for part, ladder in ladders.items()}
    assert largest is not None
    chosen = {
        part: next(one for one in ladders[part] if one.kind == kind) for part, kind in found.kinds.items()
    }
    names = _names(question.subject, sizes)
    types = parts.types(found.kinds, sizes)
    return Mixture(
        budget=budget,
        size=found.size + vectors,
        parts={
            part: Part(_kind(places, types), chosen[part].size, chosen[part].loss)
            for part, places in parts.parts_of(sizes).items()
        },
        tensors={names[place]: kind for place, kind in types.items()},
        loss=found.loss,
        least=largest.loss,
        most=sum(one.loss for one in smallest.values()),
        texts=known.texts,
        tokens=known.tokens,
        unbound=found.size == largest.size,
    )


def _kind(places: Iterable[parts.Place], types: Mapping[parts.Place, str]) -> str:
    return "+".join(dict.fromkeys(types[place] for place in places))


def _known(options: Options, sizes: Dimensions, kinds: tuple[str, ...]) -> Sensitivities:
    # a file that is not there yet is what the build is to write
    if options.sensitivities is None or not Path(options.sensitivities).exists():
        return sensitivities.assumed(sizes, kinds)
    return sensitivities.read(Path(options.sensitivities), sizes, kinds)


def _ladders(known: Sensitivities, sizes: Dimensions, kinds: tuple[str, ...]) -> dict[str, list[Choice]]:
    shapes = dict(mixes.matrices(sizes))
    return {
        part: [
            Choice(kind, size, known.losses[part][kind])
            for kind, size in parts.sizes_of(places, kinds, shapes).items()
        ]
        for part, places in parts.parts_of(sizes).items()
    }


def _elements(sizes: Dimensions) -> int:
    return sum(rows * columns for _, (rows, columns) in mixes.matrices(sizes))


def _names(subject: Subject, sizes: Dimensions) -> dict[parts.Place, str]:
    family = cast(Decoder, architecture.load(subject.model_type))
    return {(role, layer): name for role, layer, name in tensor_names(family.GGUF, sizes)}


def _too_small(question: Question, sizes: Dimensions, rest: Memory, least: int) -> PlanError:
    """Return the error for a size that nothing fits, with what would."""
    budget = question.options.fit or 0
    sequences = max(1, rest.cache // (rest.cache_per_token * rest.context))
    room = budget - least - rest.runtime
    tokens = room // rest.cache_per_token
    ways = [f"--fit {_ceiling(least + rest.used)}"]
    if tokens // sequences >= min(512, rest.context):
        ways.append(f"--max-context {tokens // sequences}")
    if tokens // rest.context >= 1:
        ways.append(f"--concurrency {tokens // rest.context}")
    return PlanError(
        f"{question.subject.name} does not fit {_said(budget)}: its weights take {_said(least)} in the "
        f"smallest types, {sequences} x {rest.context} tokens of KV cache {_said(rest.cache)}, and the "
        f"engine {_said(rest.runtime)}: {_said(least + rest.used)} in all",
        expected=f"at least --fit {_ceiling(least + rest.used)}",
        remedy=f"use {', or '.join(f'`{way}`' for way in ways)}"
        + ("" if len(ways) > 1 else ", or a shorter --max-context or a smaller --concurrency"),
    )


def _said(count: int) -> str:
    """Return bytes in the units that --fit is mostly given in."""
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{count} B"


def _ceiling(count: int) -> str:
    """Return a size in whole MB that is enough."""
    return f"{-(-count // 10**6)}MB"
