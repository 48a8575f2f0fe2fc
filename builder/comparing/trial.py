"""One variant from its plan to its figures: built as `builder build` does it, served, and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from builder import house, kept, pipeline
from builder.comparing.row import Row
from builder.comparing.variants import Variant
from builder.convert import Artifact, convert
from builder.errors import BuilderError, Interrupted
from builder.measure import Options as Loads
from builder.measure import measure
from builder.measuring import place
from builder.measuring.running import running
from builder.plan import Options, Plan
from builder.proving import asking, twice
from builder.quantization import Quantization, Support
from builder.source import Checkpoint

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class How:
    """How every variant is measured: the loads, and whether perplexity is read the second way too."""

    load: Loads
    twice: bool


@dataclass(frozen=True)
class Model:
    """What all variants are of: NAME and --checkpoint as they were given, and the checkpoint itself."""

    name: str
    checkpoint: str | None
    served_name: str
    found: Checkpoint


def run(
    model: Model,
    variant: Variant,
    planned: Plan,
    options: Options,
    how: How,
    home: Path,
    key: str,
    progress: Progress,
) -> Row:
    """Try one variant and return its row, which says what failed where anything does; the rest goes on.

    Raises Interrupted, KeyboardInterrupt and SystemExit: who wants to stop wants no other variant either.
    """
    row = Row(variant.label, planned.target, variant.quantize, key)
    try:
        if not variant.fit:
            # before the build judges it: what it has lost is worth a look even where that is too much
            artifact = convert(planned, model.found, progress)
            row = _looked_at(row, variant, planned, artifact, how, progress)
        built = pipeline.build(
            model.name,
            home,
            options,
            checkpoint=model.checkpoint,
            served_name=model.served_name,
            progress=progress,
        )
        if variant.fit:
            # which types fit is known when the build has measured what each part loses
            row = _looked_at(row, variant, built.plan, built.artifact, how, progress)
        row = replace(row, repository=home.name, verified=built.verified)
        return replace(row, runs=_measured(home, how, progress))
    except Interrupted:
        raise
    except (BuilderError, OSError) as error:
        return replace(row, failure=_said(error))


def _looked_at(
    row: Row, variant: Variant, planned: Plan, artifact: Artifact, how: How, progress: Progress
) -> Row:
    row = _proven(row, variant, planned, artifact, progress)
    return _read_twice(row, planned, artifact, progress) if how.twice else row


def _proven(row: Row, variant: Variant, planned: Plan, artifact: Artifact, progress: Progress) -> Row:
    """Return the row with what the artifact is and what it lost."""
    form = kept.format_of(artifact.model)
    tensors = form.tensors(artifact.model)
    row = replace(
        row,
        size=sum(file.stat().st_size for file in artifact.model.rglob("*") if file.is_file()),
        counts=kept.counts(tensors),
        stand_ins=kept.stand_ins(form, tensors, promised(variant, planned)),
        limits=asdict(planned.limits) if planned.limits else None,
    )
    return replace(row, loss=asking.ask(planned, artifact, progress).loss.to_json())


def _read_twice(row: Row, planned: Plan, artifact: Artifact, progress: Progress) -> Row:
    """Return the row with the other perplexity, or with why there is none: that ends nothing."""
    try:
        second = twice.read(planned, artifact, progress)
    except Interrupted:
        raise
    except BuilderError as error:
        return replace(row, twice_unknown=_said(error))
    return replace(row, twice={**asdict(second), "apart": round(second.apart, 6), "agree": second.agree})


def promised(variant: Variant, planned: Plan) -> tuple[str, ...]:
    """Return the types that the name of a quantization promises, none of a mixture."""
    if not variant.quantize:
        return ()
    found: Quantization = house.plugin("quantizations", variant.quantize, option="--quantize").QUANTIZATION
    return found.targets.get(planned.target, Support(frozenset())).kinds


def _measured(home: Path, how: How, progress: Progress) -> tuple[Mapping[str, Any], ...]:
    with running(home, None, None, None, progress) as (http, grpc, metrics):
        there = place.triton(
            http,
            grpc,
            metrics,
            door="grpc",
            name=None,
            output_tokens=how.load.output_tokens,
            extra={},
            repository=home,
        )
        found = measure(there, how.load, progress=progress)
    if found.ended_early is not None:
        raise found.ended_early
    # a report draws no distribution: it would be most of the file
    return tuple({name: value for name, value in run.items() if name != "distribution"} for run in found.runs)


def _said(error: BuilderError | OSError) -> str:
    return error.found if isinstance(error, BuilderError) else f"{type(error).__name__}: {error}"
