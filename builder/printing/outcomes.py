"""What a build did, for people and as JSON."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

from builder import contract, engine_file
from builder.pipeline import Built
from builder.printing import reports, tables


def to_json(built: Built) -> dict[str, Any]:
    """Return the outcome: where it was published, its evidence and its verification."""
    published = built.published
    return {
        "name": published.name,
        "repository": str(published.repository),
        "version": published.version,
        "new": published.fresh,
        "evidence": built.evidence.to_json(),
        "verified": json.loads(built.report.to_json()) if built.report else None,
        "locked": str(built.locked) if built.locked else None,
        **(
            {"engine": {"built": _has_engine(built), "script": str(_script(built))}}
            if _compiles(built)
            else {}
        ),
    }


def warnings(built: Built) -> list[str]:
    """Return what the version's manifest warns of: calibration by too few texts, or by unlike ones."""
    published = built.published
    home = published.repository / published.name / str(published.version)
    told = json.loads((home / "manifest.json").read_text(encoding="utf-8"))
    calibration = told.get("calibration", {})
    parts = (calibration, calibration.get("workload", {}))
    return [part["warning"] for part in parts if "warning" in part]


def show(built: Built) -> None:
    """Print what was proven, then where it is and what to do with it."""
    evidence, published = built.evidence, built.published
    # a contract may have a name of its own for what is asked
    asked = "" if published.name == built.plan.name else f", served as {published.name}"
    name = f"{built.plan.name}{asked}"
    tables.show(
        f"Proven of {name} ({built.plan.target} {built.plan.quantize}) before it was published",
        ("what", "figure"),
        evidence.rows(),
    )
    if built.report:
        reports.show(built.report)
    place = f"{published.repository}/{published.name}"
    checked = _checked(built.verified, built.plan.contract)
    if not published.fresh:
        click.echo(f"{place} version {published.version} is this very build already ({checked})")
    else:
        click.echo(f"published {place} version {published.version}, {checked}")
    if built.locked:
        click.echo(f"pinned in {built.locked}: its source, {built.plan.container.tag} and the tools")
    image = contract.load(built.plan.contract, built.plan.target).IMAGE
    if _compiles(built):
        _show_engine(built)
    elif image:
        deploy = _command("deploy", "compose", published.repository)
        click.echo(f"serve it in {built.plan.container.sort(image)}: {deploy}")
    else:
        click.echo(f"serve it: {_command('serve', published.repository)}")


def _command(*words: str | Path) -> str:
    """Return a command of this program as a shell takes it."""
    return shlex.join(["builder", *map(str, words)])


def _show_engine(built: Built) -> None:
    compilation = built.plan.compilation
    assert compilation is not None
    if _has_engine(built):
        version = engine_file.of(_graph(built) / compilation.result)
        click.echo(f"its engine is built by TensorRT {version or 'of unknown version'}")
    else:
        script = shlex.quote(str(_script(built)))
        click.echo(
            f"the engine is not built yet, and Triton does not load {built.plan.graph.name} before it is:\n"
            f"run {script} where Docker and a GPU of compute capability {compilation.compute} are"
        )
    if compilation.hosts > 1:
        launch = _graph(built) / engine_file.LAUNCH
        inside = shlex.join(["sh", engine_file.launched(launch)])
        click.echo(
            f"serve it in {compilation.image}, the repository at {contract.MODELS}: "
            f"run there, on the first of {compilation.hosts} hosts, `{inside}`\n"
            f"that script is here {launch}"
        )
        return
    deploy = _command("deploy", "compose", built.published.repository)
    click.echo(f"serve it in {compilation.image}: {deploy}")


def _compiles(built: Built) -> bool:
    return built.plan.compilation is not None


def _script(built: Built) -> Path:
    return _graph(built) / engine_file.SCRIPT


def _has_engine(built: Built) -> bool:
    compilation = built.plan.compilation
    return compilation is not None and (_graph(built) / compilation.result).exists()


def _graph(built: Built) -> Path:
    """Return the version folder of the graph, which every build gives the number of the front's."""
    return built.published.repository / built.plan.graph.name / str(built.published.version)


def _checked(counts: dict[str, int] | None, spoken: str) -> str:
    if counts is None and spoken != contract.USUAL:
        return (
            f"not verified: `builder verify` asks models of contract {contract.USUAL} alone, not of {spoken}"
        )
    if counts is None:
        return "not verified: `builder verify` does it"
    return (
        f"verified: {counts['passed']} checks passed, {counts['failed']} failed, {counts['skipped']} skipped"
    )
