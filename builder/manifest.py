"""manifest.json: where a version came from and what was proven of it; the same build gives the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import builder
from builder import source as sources
from builder.calibration import workload
from builder.convert import Artifact
from builder.plan import Plan
from builder.prove import Evidence
from builder.ranks.quantization import RECORD
from builder.source import Checkpoint, origin_of

FORMAT = 1


def manifest(
    plan: Plan,
    checkpoint: Checkpoint,
    artifact: Artifact,
    evidence: Evidence,
    adapters: Mapping[str, str],
) -> dict[str, Any]:
    """Return the manifest of one version; nothing in it names a machine, a user or a time.

    `adapters` are the digests of the files of LoRA adapters, by their names in the version folder.
    """
    origin = origin_of(plan.origin)
    # why an engine and a container were chosen is for people: other reasons, the same deployment
    reasons = ("engine_why", "resolution")
    planned = {name: value for name, value in plan.to_json().items() if name not in reasons}
    if artifact.draft is not None:
        draft = planned["speculation"]["draft"]
        draft["origin"] = origin_of(draft["origin"])
    return {
        "format": FORMAT,
        "name": plan.name,
        "builder": builder.__version__,
        "source": {
            "origin": origin,
            "revision": checkpoint.revision,
            "format": checkpoint.format,
            "sha256": artifact.source_digests,
        },
        **({"draft": {"sha256": artifact.draft_digests}} if artifact.draft else {}),
        "plan": {**planned, "origin": origin},
        "tools": artifact.tools,
        **_calibration(plan, artifact),
        "artifact": {"key": artifact.key, "sha256": {**artifact.digests, **adapters}},
        "evidence": evidence.to_json(),
    }


def _calibration(plan: Plan, artifact: Artifact) -> dict[str, Any]:
    """Return what a converter recorded of its data for scales, and how unlike the workload that is.

    That is no part of the artifact: another workload is no reason to measure again.
    """
    path = next(artifact.model.rglob(RECORD), None)
    if path is None:
        return {}
    compared = workload.compared(plan.calibration, plan.workload)
    return {"calibration": {**sources.read_json(path), **({"workload": compared} if compared else {})}}
