"""The target's own converter, in a process of its own: a plan becomes its command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from builder import architecture, artifact_key, child, house, settings
from builder.errors import ConversionError
from builder.plan import Plan
from builder.target import GOING_ON, Job


def run(
    plan: Plan,
    folder: Path,
    out: Path,
    log: Path,
    tell: Callable[[float, str], None],
    part: Path | None = None,
) -> None:
    """Run the target's converter on a folder.

    Args:
        plan: what for.
        folder: the checkpoint, as the converter reads it.
        out: the folder to fill.
        log: the file to which it prints.
        tell: hears the share done, 0 to 1, and where it goes on, what follows "converting".
        part: a folder on the disk of `out` that outlives what is killed.

    Raises ConversionError where it failed, or wrote nothing.
    """
    target = house.plugin("targets", plan.target, option="--target")

    def watch(text: str) -> None:
        told = GOING_ON.search(text)
        tell(target.progress(text, plan.dimensions), f", {told[0]}" if told else "")

    child.run(
        target.convert(_job(plan, folder, settings.read(plan, folder), out, part)),
        log,
        ConversionError,
        watch=watch,
        environment={
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            # a converter that lies inside somebody's git clone would write that commit into the artifact
            "GIT_DIR": str(out.parent / "no-git"),
        },
    )
    if not any(out.iterdir()):
        raise ConversionError(
            "the converter ended well and wrote nothing",
            expected="the artifact's files",
            remedy=f"read its log at {log}",
        )


def _job(plan: Plan, source_folder: Path, told: dict[str, Any], out: Path, part: Path | None) -> Job:
    return Job(
        checkpoint=source_folder,
        exporter=architecture.load(plan.model_type).EXPORTER,
        pipeline=plan.pipeline,
        main=plan.main,
        quantization=plan.quantize,
        arguments=plan.converter_arguments,
        device=plan.device,
        accelerators=plan.accelerators,
        runtime=artifact_key.runtime(plan),
        image=plan.facts.image,
        settings=told,
        out=out,
        split=plan.split,
        cache_type=plan.cache_type,
        calibration=plan.calibration,
        calibration_samples=plan.calibration_samples,
        calibration_length=plan.calibration_length,
        stored=plan.stored is not None,
        part=part,
        types=plan.mixture.tensors if plan.mixture else {},
    )
