"""The whole story: a checkpoint becomes a repository that is proven before anyone depends on it.

source -> plan -> convert -> prove -> (compile) -> repository -> check -> serve -> verify -> (publish)
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from builder import contract, lock, publishing, repository, sensing, source, verifying
from builder.calibration import workload
from builder.check import Choice, check
from builder.compiling import compiled
from builder.convert import Artifact, convert, require_libraries
from builder.errors import RepositoryError, UsageError, VerifyError
from builder.lock import Pins
from builder.plan import Options, Plan
from builder.prove import Evidence, prove
from builder.publishing import Published
from builder.report import Report
from builder.rule import Host
from builder.rules import engines, tensorrt_llm_folders
from builder.source import Checkpoint
from builder.subjects import name_of, read, refined

Progress = Callable[[str, float], None]
Warn = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """What a build did; `report` is None when nothing new was published or verification was skipped.

    `verified` counts the checks of that version by outcome, also when it was published before. `engine` is
    what the graph was compiled to, None where it is served as it is, or is yet to be compiled. `locked` is
    the lock where something was pinned in it.
    """

    plan: Plan
    artifact: Artifact
    evidence: Evidence
    published: Published
    report: Report | None
    verified: dict[str, int] | None
    engine: Path | None = None
    locked: Path | None = None


def build(
    name: str,
    output: Path,
    options: Options,
    *,
    checkpoint: str | None = None,
    served_name: str | None = None,
    verifying: bool = True,
    lock_file: Path | None = None,
    update_lock: bool = False,
    progress: Progress = lambda doing, share: None,
    warn: Warn = lambda line: None,
) -> Built:
    """Build, prove, stage, check, boot, verify; publish only what passed all of it.

    `lock_file` pins what is taken, None for nothing; with `update_lock` what it pinned before is replaced.
    `warn` hears what may be wrong with texts before hours are spent on measuring with them.
    """
    pins = lock.read(lock_file, name_of(name, served_name), moving=update_lock)
    subject, found = read(name, checkpoint, served_name, options.draft, pins.revision)
    planned = lock.pinned(subject, options, pins)
    require_libraries(planned)
    if verifying:
        _require_a_server(planned)
    if found is None:
        found = source.open_checkpoint(subject.origin, subject.revision)
        planned = lock.pinned(refined(subject, found), options, pins)
    lock.require_tools(planned, found, pins)
    if planned.mixture is not None:
        own = options.sensitivities or ""
        profile = sensing.measured(planned, found, subject.precision, own, progress)
        planned = lock.pinned(refined(subject, found), replace(options, sensitivities=str(profile)), pins)
    for line in workload.warnings(planned.calibration, planned.workload):
        warn(line)
    built = _built(planned, found, output, pins, verifying, progress)
    return replace(built, locked=lock.write(pins, built.plan, found, built.artifact))


def _built(
    planned: Plan, found: Checkpoint, output: Path, pins: Pins, verifying: bool, progress: Progress
) -> Built:
    started = time.time()
    if output.exists() and not output.is_dir():
        raise RepositoryError(f"{output} is not a folder", expected="a model repository, or nothing yet")
    artifact = convert(planned, found, progress, partial(lock.require_source, pins, planned.target))
    evidence = prove(planned, artifact, progress)
    engine = compiled(planned, artifact, progress)
    with repository.staging(output) as stage:
        version = publishing.next_version(planned, output)
        repository.write(planned, found, artifact, evidence, stage, version, engine)
        same = publishing.published(planned, output, stage, version)
        lacking = publishing.missing(planned, output, stage, version, same) if same is not None else []
        if same is not None:
            published = Published(output, planned.front.name, same, fresh=False)
            counts = _counts(published)
            if not lacking and (counts or not verifying):
                return Built(planned, artifact, evidence, published, None, counts, engine)
        _require_no_findings(stage, planned)
        report = _verify_staged(planned, stage, progress) if verifying else None
        record = {
            "seconds": round(time.time() - started, 1),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "verified": json.loads(report.to_json()) if report else None,
        }
        if same is not None:
            publishing.restore(lacking, output)
            publishing.note(published, record)
        else:
            publishing.note(Published(stage, planned.front.name, version, fresh=True), record)
            published = publishing.publish(planned, stage, output, version)
            if report and not published.fresh:
                publishing.note(published, record)
    return Built(planned, artifact, evidence, published, report, _counts(published), engine)


def _counts(published: Published) -> dict[str, int] | None:
    """Return what build.json says of a version's verification, None when it says nothing."""
    record = published.repository / published.name / str(published.version) / "build.json"
    try:
        verified = json.loads(record.read_text(encoding="utf-8"))["verified"]
    except (OSError, ValueError, KeyError):
        return None
    return dict(verified["counts"]) if verified else None


def _require_a_server(planned: Plan) -> None:
    image = contract.load(planned.contract, planned.target).IMAGE
    if image:
        raise UsageError(
            f"the server that verifies a build here does not serve contract {planned.contract}",
            expected=planned.container.sort(image),
            remedy="publish with --no-verify, and serve it there",
        )
    if planned.compilation is not None:
        raise UsageError(
            "the server that verifies a build here runs no engines",
            expected=f"{planned.compilation.image} on a GPU of compute capability "
            f"{planned.compilation.compute}",
            remedy="publish with --no-verify, serve it there, then `builder verify --url http://HOST:PORT`",
        )


def _require_no_findings(stage: Path, planned: Plan) -> None:
    # an engine that cannot be built here is built by the script beside the graph
    missing = (engines.MISSING, tensorrt_llm_folders.MISSING)
    choice = Choice(ignore=missing if planned.compilation else ())
    found = check(stage, host=Host(planned.container.tag, completes=False), choice=choice)
    bad = [finding for finding in found if finding.severity != "warning"]
    if bad:
        lines = "\n".join(f"  {finding.where}: {finding.message}" for finding in bad)
        raise RepositoryError(
            f"Bug: the staged repository has findings:\n{lines}", remedy="report this build"
        )


def _verify_staged(planned: Plan, stage: Path, progress: Progress) -> Report:
    if planned.device == "gpu" and not Path("/dev/nvidiactl").exists():
        raise UsageError(
            "this machine has no NVIDIA GPU, so the deployment cannot be verified here",
            remedy="build where the GPU is, or publish unverified with --no-verify",
        )
    report = verifying.run(stage, progress=progress)
    if not report.passed:
        failed = [f"  {row.name}: {row.detail}" for row in report.failures]
        raise VerifyError(
            f"{len(failed)} of the checks failed on the staged deployment; nothing was published:\n"
            + "\n".join(failed),
            remedy="`builder verify --list` says what each check asks; some are of time, which a busy "
            "machine may miss: build again then, what was converted is kept",
        )
    return report
