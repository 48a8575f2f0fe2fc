"""Compare: every variant of a model built, proven, served and measured alike, in one table.

What a variant was found to be is written down before the next one begins, and not asked again unless
anything that it follows from has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import builder
from builder import artifact_key, files, room, source, source_folder, subjects
from builder.calibration import texts
from builder.comparing import row as rows
from builder.comparing import trial, variants
from builder.comparing.row import Comparison, Row
from builder.comparing.trial import How
from builder.comparing.variants import Variant
from builder.errors import BuilderError, ComparisonError
from builder.measuring import machine
from builder.plan import Options, Plan, plan
from builder.proving.twice import SAMPLE

RECORD = "comparison.json"
ROWS = "rows"
"""The folder with a file for each row that was found, by its key: none of these is tried again."""

Progress = Callable[[str, float], None]
Tell = Callable[[Row], None]


@dataclass(frozen=True)
class Asked:
    """Which variants of NAME: values of --quantize and --target, all there are where none is named.

    `fits` are the sizes of mixtures; `options` are those of every plan.
    """

    name: str
    options: Options
    checkpoint: str | None = None
    quantizations: Sequence[str] = ()
    targets: Sequence[str] = ()
    fits: Sequence[int] = ()


def compare(
    asked: Asked,
    home: Path,
    how: How,
    *,
    command: str = "",
    progress: Progress = lambda doing, share: None,
    tell: Tell = lambda row: None,
) -> Comparison:
    """Try every variant and return the rows of all, those that are not served with the reason.

    Args:
        home: a folder that gets a model repository for each variant, and the record of all.
        tell: hears each row as soon as it is known.

    Raises:
        UsageError: no such model, no such variant, or none for the device.
        SourceError: the checkpoint cannot be read.
        ComparisonError: too little room on a disk, or the folder cannot be written.
        Interrupted: what was found before is kept.
    """
    name = subjects.name_of(asked.name, None)
    subject, found = subjects.read(asked.name, asked.checkpoint, name)
    chosen = variants.variants(subject, asked.options, asked.quantizations, asked.targets, asked.fits)
    if found is None:
        found = source.open_checkpoint(subject.origin, subject.revision)
        subject = subjects.refined(subject, found)
    work = [_planned(subject, one, asked.options, name) for one in chosen]
    _, digests = source_folder.of_checkpoint(found, "the checkpoint", progress)
    keys = [_key(one, digests, how) for one in work]
    done = {key: row for key in keys if (row := rows.read(_place(home, key)))}
    _require_room([one for one, key in zip(work, keys, strict=True) if key not in done], digests, home)
    model = trial.Model(asked.name, asked.checkpoint, name, found)
    comparison = Comparison(
        name,
        source.origin_of(subject.origin),
        command,
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        machine.describe(),
        _settings(how),
        (),
    )
    for number, (one, key) in enumerate(zip(work, keys, strict=True), 1):
        row = done.get(key) or _tried(model, one, how, home, key, _of(one, number, work, progress))
        comparison = replace(comparison, rows=(*comparison.rows, row))
        _write(home, comparison, row)
        tell(row)
    return comparison


@dataclass(frozen=True)
class _Work:
    """A variant with its plan, or with why there is none."""

    variant: Variant
    options: Options
    plan: Plan | None
    refused: BuilderError | None = None


def _planned(subject: Any, variant: Variant, asked: Options, name: str) -> _Work:
    options = asked
    try:
        options = variant.options(asked)
        return _Work(variant, options, plan(replace(subject, name=name), options))
    except BuilderError as error:
        return _Work(variant, options, None, error)


def _tried(model: trial.Model, work: _Work, how: How, home: Path, key: str, progress: Progress) -> Row:
    variant = work.variant
    if work.plan is None:
        assert work.refused is not None
        return Row(variant.label, variant.target, variant.quantize, key, failure=work.refused.found)
    return trial.run(model, variant, work.plan, work.options, how, home / variant.folder, key, progress)


def _key(work: _Work, digests: dict[str, str], how: How) -> str:
    """Return the digest of all that a row follows from: its plan, tools, texts, budgets, loads, machine."""
    if work.plan is None:
        return ""
    evaluated = texts.read(Path(work.plan.evaluation or texts.HELD_OUT), "--evaluate")
    return artifact_key.key(
        {
            "builder": builder.__version__,
            "artifact": artifact_key.identity(work.plan, digests),
            "plan": {name: value for name, value in work.plan.to_json().items() if name != "resolution"},
            "evaluated": evaluated.sha256,
            "limits": asdict(work.plan.limits) if work.plan.limits else None,
            "settings": _settings(how),
            "machine": machine.describe(),
        }
    )


def _settings(how: How) -> dict[str, Any]:
    return {
        "concurrency": [load.concurrency for load in how.load.loads],
        "output_tokens": how.load.output_tokens,
        "texts_read_twice": SAMPLE if how.twice else 0,
    }


def _require_room(work: Sequence[_Work], digests: dict[str, str], home: Path) -> None:
    """Raise ComparisonError where the weights of all that is yet to be built do not fit on the disks."""
    needed = {
        artifact_key.key(artifact_key.identity(one.plan, digests)): one.plan.memory.weights
        for one in work
        if one.plan is not None
    }
    room.require(needed, home)


def _of(work: _Work, number: int, every: Sequence[_Work], progress: Progress) -> Progress:
    """Return a progress that says whose it is; a comma parts a stage from what is said of it."""

    def tell(doing: str, share: float) -> None:
        progress(f"{work.variant.label} ({number} of {len(every)}): {doing}", share)

    return tell


def _place(home: Path, key: str) -> Path:
    return home / ROWS / f"{key[:32]}.json"


def _write(home: Path, comparison: Comparison, row: Row) -> None:
    """Write all that is known; one that failed is kept for nobody: it is tried again."""
    with files.translated(ComparisonError, f"writing {home / RECORD}"):
        (home / ROWS).mkdir(parents=True, exist_ok=True)
        if not row.failure:
            files.replace_text(_place(home, row.key), files.dump(row.to_json()))
        files.replace_text(home / RECORD, files.dump(comparison.to_json()))
