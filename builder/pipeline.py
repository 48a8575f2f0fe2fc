"""The whole story: a checkpoint becomes a repository that is proven before anyone depends on it.

source -> plan -> convert -> prove -> repository -> check -> serve -> verify -> (publish)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from builder import architecture, files, recipe, repository, source
from builder.check import check
from builder.convert import convert
from builder.errors import BuilderError, RepositoryError, SourceError, UsageError, VerifyError
from builder.plan import Options, Plan, Subject, plan
from builder.prove import Evidence, prove
from builder.repository import Published
from builder.serve import boot
from builder.source import Checkpoint
from builder.verify import Report, verify

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Built:
    """What a build did; `report` is None when nothing new was published or verification was skipped."""

    plan: Plan
    evidence: Evidence
    published: Published
    report: Report | None


def read(name: str, checkpoint: str | None, served_name: str | None) -> tuple[Subject, Checkpoint | None]:
    """Find out what NAME is: its checkpoint where that is at hand, else its recipe's published numbers.

    Raises:
        UsageError: NAME is no recipe and no checkpoint was given.
        SourceError: the checkpoint that was given cannot be read, or contradicts its recipe.
    """
    known = name in recipe.names() or name.endswith(".toml")
    if not known and not checkpoint:
        recipe.load(name)
    if known:
        subject = _from_recipe(recipe.load(name))
        if not checkpoint:
            found = _at_hand(subject.origin)
            subject = replace(subject, name=served_name or subject.name)
            return replace(subject, weights_at_hand=found is not None), found
        wanted: Subject | None = subject
    else:
        wanted = None
    found = source.open_checkpoint(str(checkpoint))
    subject = _from_checkpoint(served_name or (wanted.name if wanted else name), found, wanted)
    return subject, found


def _from_recipe(known: recipe.Recipe) -> Subject:
    return Subject(
        name=known.name,
        origin=known.checkpoint,
        model_type=known.model_type,
        dimensions=known.dimensions(),
        target=known.target,
        precision=known.precision,
        weights_at_hand=False,
    )


def _from_checkpoint(name: str, found: Checkpoint, wanted: Subject | None) -> Subject:
    dimensions = architecture.load(found.model_type).dimensions(found.config)
    dtype = str(found.config.get("dtype") or found.config.get("torch_dtype") or "bfloat16")
    precision = {"float32": "fp32", "float16": "fp16"}.get(dtype, "bf16")
    return Subject(
        name=name,
        origin=found.origin,
        model_type=found.model_type,
        dimensions=dimensions,
        target=wanted.target if wanted else "onnx",
        precision=wanted.precision if wanted else precision,
        weights_at_hand=True,
    )


def _at_hand(reference: str) -> Checkpoint | None:
    """Return the recipe's checkpoint if that costs no network: it lies in an installed package or folder."""
    if not reference.startswith("package:") and not Path(reference).exists():
        return None
    try:
        return source.open_checkpoint(reference)
    except SourceError:
        return None


def build(
    name: str,
    output: Path,
    options: Options,
    *,
    checkpoint: str | None = None,
    served_name: str | None = None,
    verifying: bool = True,
    progress: Progress = lambda doing, share: None,
) -> Built:
    """Build, prove, stage, check, boot, verify; publish only what passed all of it."""
    started = time.time()
    subject, found = read(name, checkpoint, served_name)
    planned = plan(subject, options)
    found = found or source.open_checkpoint(subject.origin)
    if output.exists() and not output.is_dir():
        raise RepositoryError(f"{output} is not a folder", expected="a model repository, or nothing yet")
    artifact = convert(planned, found, progress)
    evidence = prove(planned, artifact, progress)
    with repository.staging(output) as stage:
        version = repository.next_version(planned, output)
        repository.write(planned, found, artifact, evidence, stage, version)
        same = repository.published(planned, output, stage, version)
        if same is not None:
            return Built(planned, evidence, Published(output, planned.name, same, fresh=False), None)
        _require_no_findings(stage)
        report = _verify_staged(planned, stage, progress) if verifying else None
        record = {
            "seconds": round(time.time() - started, 1),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "verified": report.to_json() if report else None,
        }
        files.write_json(stage / planned.front.name / str(version) / "build.json", record)
        published = repository.publish(planned, stage, output, version)
    return Built(planned, evidence, published, report)


def _require_no_findings(stage: Path) -> None:
    bad = [finding for finding in check(stage) if finding.severity != "warning"]
    if bad:
        lines = "\n".join(f"  {finding.where}: {finding.message}" for finding in bad)
        raise RepositoryError(f"Bug: the staged repository has findings:\n{lines}", remedy="report this build")


def _verify_staged(planned: Plan, stage: Path, progress: Progress) -> Report:
    if planned.device == "gpu" and not Path("/dev/nvidiactl").exists():
        raise UsageError(
            "this machine has no NVIDIA GPU, so the deployment cannot be verified here",
            remedy="build where the GPU is, or publish unverified with --no-verify",
        )
    progress("booting Triton on the staged repository", 0.0)
    with boot(stage) as server:
        progress("verifying", 0.0)
        report = verify(
            stage,
            server.http,
            server.grpc,
            server.metrics,
            progress=lambda done, total: progress("verifying", done / max(1, total)),
        )
    if not report.passed:
        failed = [f"  {row.name}: {row.detail}" for row in report.rows if not row.passed and not row.skipped]
        raise VerifyError(
            f"{len(failed)} checks failed on the staged deployment; nothing was published:\n" + "\n".join(failed),
            remedy="read the failures above; `builder verify --help` tells how to run them alone",
        )
    return report


def explain(error: BuilderError, stage: str) -> str:
    """Return the message of a failure under the name of the stage it happened in."""
    return f"{stage}: {error}"
