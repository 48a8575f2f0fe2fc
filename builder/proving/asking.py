"""Source and artifact asked, in processes of their own: for golden answers, and what they make of texts.

What was found is kept beside the artifact, and not asked for again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import files, house, modules
from builder.calibration import texts
from builder.convert import Artifact
from builder.errors import ProofError
from builder.plan import Plan
from builder.proving import loss, prompts
from builder.proving.child import run
from builder.proving.loss import Loss
from builder.target import Target

Progress = Callable[[str, float], None]
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Found:
    """What both said: `golden` is the file with the answers, `rows` how far each is from the source's."""

    golden: Path
    rows: Rows
    loss: Loss


def ask(plan: Plan, artifact: Artifact, progress: Progress) -> Found:
    """Ask, or find what was said before. Raises ProofError."""
    with files.translated(ProofError, "writing the proof"):
        home = _home(plan, artifact)
        if not (home / "proof.json").is_file():
            _measure(plan, artifact, home, progress)
        return Found(home / "golden.json", rows(home / "proof.json"), _read(plan, artifact, home, progress))


def texts_read(plan: Plan, artifact: Artifact, progress: Progress) -> Rows:
    """Return a row of `held_out` for each held-out text that was read; raises as `ask`."""
    ask(plan, artifact, progress)
    return rows(_home(plan, artifact) / _rows_of(_held_out(plan)))


def reading(plan: Plan, artifact: Artifact) -> dict[str, Any]:
    """Return what says which texts the artifact reads, and how long they are."""
    return _reading(plan, artifact, _held_out(plan), Path())


def _home(plan: Plan, artifact: Artifact) -> Path:
    return artifact.model.parent / f"proof-{_identity(plan)[:16]}"


def _identity(plan: Plan) -> str:
    recipe = Path(prompts.__file__).parent
    names = ("golden.py", "reference.py", "source_model.py", "held_out.py", "reader.py")
    tools = [recipe / name for name in names]
    tools.append(Path(texts.__file__))
    tools += modules.reached(recipe.parent, [recipe / f"{_witness(plan)}.py"], "builder")
    if plan.stored:
        tools += [
            recipe.parent / "weight_formats" / f"{plan.stored.name}.py",
            recipe.parent / "unpacking.py",
        ]
    content = [file.read_bytes() for file in (*tools, recipe.parent / "data" / "golden.toml")]
    told = [plan.name, plan.cache_type] if plan.cache_type else [plan.name]
    return hashlib.sha256(b"\0".join([*(one.encode() for one in told), *content])).hexdigest()


def _witness(plan: Plan) -> str:
    target: Target = house.plugin("targets", plan.target, option="--target")
    return target.WITNESS


def _measure(plan: Plan, artifact: Artifact, home: Path, progress: Progress) -> None:
    logs = house.cache_folder() / "logs"
    with files.staged(home) as stage:
        work = stage / "work"
        request = stage / "request.json"
        asked = {
            "name": plan.name,
            "model": str(artifact.model),
            "tokenizer": str(artifact.tokenizer),
            "witness": _witness(plan),
            "arguments": dict(plan.engine_arguments),
            "ends": artifact.settings["end_ids"],
            "out": str(work),
        }
        _run("golden", asked, request, logs / f"golden-{artifact.key[:16]}.log", progress)
        data = _held_out(plan)
        asked = {
            "source": str(artifact.source),
            "golden": str(work / "golden.json"),
            "logits": str(work / "logits"),
            "out": str(stage / "proof.json"),
            **_reading(plan, artifact, data, stage / _rows_of(data)),
        }
        _run("reference", asked, request, logs / f"reference-{artifact.key[:16]}.log", progress)
        _write_golden(work / "golden.json", stage, data)
        request.unlink()
        for logits in (work / "logits").iterdir():
            logits.unlink()
        (work / "logits").rmdir()
        work.rmdir()


def _write_golden(answers: Path, stage: Path, data: texts.Data) -> None:
    """Write the answers, and how likely some texts are; not of the user's own, who may not want them told."""
    golden = json.loads(answers.read_text(encoding="utf-8"))
    if data.path == texts.HELD_OUT:
        golden["texts"] = [
            {"number": row["text"], "input_ids": row["ids"], "loss": round(row["loss"], 4)}
            for row in rows(stage / _rows_of(data))
            if "ids" in row
        ]
    files.write_json(stage / "golden.json", golden)
    answers.unlink()


def _read(plan: Plan, artifact: Artifact, home: Path, progress: Progress) -> Loss:
    """Return what was lost on held-out texts; what was measured once is not measured again."""
    data = _held_out(plan)
    done = home / _rows_of(data)
    if not done.is_file():
        with files.scratch(home / "reading") as stage:
            asked = _reading(plan, artifact, data, stage / done.name)
            asked["source"] = str(artifact.source)
            log = house.cache_folder() / "logs" / f"held_out-{artifact.key[:16]}.log"
            _run("held_out", asked, stage / "request.json", log, progress)
            (stage / done.name).rename(done)
    return loss.summarise(rows(done), data.name, data.sha256)


def _held_out(plan: Plan) -> texts.Data:
    return texts.read(Path(plan.evaluation or texts.HELD_OUT), "--evaluate")


def _rows_of(data: texts.Data) -> str:
    return f"held-out-{data.sha256[:16]}.json"


def _reading(plan: Plan, artifact: Artifact, data: texts.Data, rows: Path) -> dict[str, Any]:
    """Return what `held_out.read` is asked."""
    return {
        "model": str(artifact.model),
        "tokenizer": str(artifact.tokenizer),
        "witness": _witness(plan),
        "arguments": dict(plan.engine_arguments),
        "texts": str(data.path),
        "option": data.option,
        "longest": min(texts.READ, plan.dimensions.context_length),
        "rows": str(rows),
    }


def rows(path: Path) -> Rows:
    """Return what a process of the proof wrote."""
    found: Rows = json.loads(path.read_text(encoding="utf-8"))
    return found


def _run(what: str, asked: dict[str, Any], request: Path, log: Path, progress: Progress) -> None:
    doing = {
        "golden": "answering the golden prompts",
        "reference": "comparing with the source",
        "held_out": "reading held-out texts",
    }[what]

    def share(text: str) -> float:
        steps = re.findall(r" (\d+)/(\d+)", text)
        return int(steps[-1][0]) / int(steps[-1][1]) if steps else 0.0

    run(what, asked, request, log, lambda text: progress(doing, share(text)))
    progress(doing, 1.0)
