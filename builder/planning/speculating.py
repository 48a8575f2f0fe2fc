"""What is guessed ahead: by passages of the request's own text, or by a draft model."""

from __future__ import annotations

import re
from dataclasses import replace

from builder import house
from builder.errors import PlanError, UsageError
from builder.planning import placement, precision
from builder.planning.asked import Options, Subject
from builder.planning.placement import Gpu, Model, Split
from builder.planning.precision import Precision
from builder.speculation import Draft, Speculation
from builder.target import Target

TOKENS = 5
MOST_TOKENS = 128
"""What vLLM's check of guesses has room for (0.22, v1/sample/rejection_sampler.py, MAX_SPEC_LEN)."""
NGRAM = (2, 4)
"""What vLLM's own pages take (docs/features/speculative_decoding, 0.22): long enough to be no chance."""


def decide(
    subject: Subject, options: Options, target: tuple[str, Target], card: Gpu | None, split: Split
) -> Speculation | None:
    """Return what was asked for, None for nothing; raise UsageError where it does not combine."""
    if options.speculate is None and options.ngram is None and options.draft is None:
        return None
    _require_able(options, target)
    if options.draft is not None and options.ngram is not None:
        raise UsageError("--draft and --ngram", expected="one of them: either guesses")
    if options.speculate is not None and not 1 <= options.speculate <= MOST_TOKENS:
        raise UsageError(f"--speculate {options.speculate}", expected=f"1 to {MOST_TOKENS} tokens")
    tokens = options.speculate or TOKENS
    if subject.draft is None:
        return Speculation(tokens, _ngram(options.ngram))
    _require_served(subject, subject.draft, target[0], card, split)
    return Speculation(tokens, None, subject.draft)


def beside(found: Speculation | None, computed: Precision) -> Model | None:
    """Return the draft as a model that lies beside the other on every GPU."""
    if found is None or found.draft is None:
        return None
    draft = found.draft
    name = draft.stored.name if draft.stored else computed.computed_in
    quantization = precision.quantization_of(name, draft.stored, "", draft.dimensions)
    # both keep their keys and values in one cache of one data type
    return draft.dimensions, replace(quantization, cache_bytes=computed.quantization.cache_bytes)


def _require_able(options: Options, target: tuple[str, Target]) -> None:
    own: tuple[str, ...] = getattr(target[1], "SPECULATION", ())
    if not own:
        able = [
            name
            for name in house.plugin_names("targets")
            if hasattr(house.plugin("targets", name, option="--target"), "SPECULATION")
        ]
        raise UsageError(
            f"target {target[0]} guesses no tokens ahead, as --speculate, --ngram and --draft ask",
            expected=f"--target {' or '.join(able)}",
        )
    for setting in options.settings:
        name = setting.partition("=")[0].removeprefix("engine.")
        if name in own:
            raise UsageError(
                f"--set engine.{name} beside --speculate, --ngram or --draft",
                expected="one of them: both decide what is guessed ahead",
            )


def _ngram(asked: str | None) -> tuple[int, int]:
    if asked is None:
        return NGRAM
    read = re.fullmatch(r"(\d{1,4})-(\d{1,4})", asked)
    shortest, longest = (int(read[1]), int(read[2])) if read else (0, 0)
    if not 1 <= shortest <= longest:
        raise UsageError(f"--ngram {asked}", expected="the least and the most tokens, such as 2-4")
    return shortest, longest


def _require_served(subject: Subject, draft: Draft, target: str, card: Gpu | None, split: Split) -> None:
    if draft.stored:
        drafted = replace(subject, origin=draft.origin, stored=draft.stored, dimensions=draft.dimensions)
        precision.require_taken(drafted, draft.stored, target, card)
        precision.require_divisible(drafted, split)
    if split.pipeline > 1:
        raise PlanError(
            f"{subject.name}: --draft with --pp {split.pipeline}",
            expected="--pp 1: a draft lies on the last group of GPUs alone, which would then hold more",
            remedy=f"use --tp {split.gpus} --pp 1, or --speculate without --draft",
        )
    obstacle = placement.obstacle(draft.dimensions, split)
    if obstacle:
        raise PlanError(
            f"{subject.name}: of --draft {draft.origin}, {obstacle}",
            expected="a draft that is divided as the model is",
            remedy="use another --tp, or another draft",
        )
