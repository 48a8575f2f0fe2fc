"""Artifact: a checkpoint as its engine wants it, kept in a cache by the digest of all that made it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder import (
    artifact_key,
    converter,
    files,
    house,
    modules,
    quantization,
    settings,
    source,
    source_folder,
    speculation,
)
from builder.errors import ConversionError
from builder.plan import Plan
from builder.source import Checkpoint

Progress = Callable[[str, float], None]

Expected = Callable[[dict[str, str], dict[str, str]], None]


def anything(source: dict[str, str], draft: dict[str, str]) -> None:
    """Expect no particular files."""


_PARTS = ("model", "tokenizer", speculation.FOLDER)
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@dataclass(frozen=True)
class Artifact:
    """What the engine loads (`model`), its `tokenizer`, and the `source` as a Hugging Face folder.

    `key` is the sha256 of checkpoint digests, converter, arguments and tool versions; `settings` are what
    the deployment's Python models are told, `config` is the checkpoint's. Models without text have an empty
    `tokenizer`. `draft` is the model that guesses ahead, `draft_digests` are those of its checkpoint.
    """

    key: str
    model: Path
    tokenizer: Path
    source: Path
    digests: dict[str, str]
    source_digests: dict[str, str]
    tools: dict[str, str]
    settings: dict[str, Any]
    config: dict[str, Any]
    draft: Path | None = None
    draft_digests: dict[str, str] = field(default_factory=dict)


def convert(
    plan: Plan, checkpoint: Checkpoint, progress: Progress, expected: Expected = anything
) -> Artifact:
    """Make the artifact, or find it in the cache; an interrupted one is never taken for it.

    Args:
        expected: is shown the digests of the checkpoint's files, and of the draft's, before they are
            converted; what it raises goes on.

    Raises:
        SourceError: a file of the checkpoint cannot be read or fetched.
        ConversionError: a library is missing, the converter failed, the disk is full.
    """
    require_libraries(plan)
    with files.translated(ConversionError, "writing the artifact"):
        folder, digests = source_folder.of_checkpoint(checkpoint, "the checkpoint", progress)
        draft, draft_digests = source_folder.of_draft(plan, folder, progress)
        expected(digests, draft_digests)
        identity = artifact_key.identity(plan, digests, draft_digests)
        key = artifact_key.key(identity)
        home = house.cache_folder() / "artifacts" / key
        if not _intact(home):
            shutil.rmtree(home, ignore_errors=True)
            part = home.parent / f".{_name_of(checkpoint)}.part"
            _build(plan, folder, draft, home, part, identity, progress)
        record = json.loads((home / "artifact.json").read_text(encoding="utf-8"))
    return Artifact(
        key=key,
        model=home / "model",
        tokenizer=home / "tokenizer",
        source=folder,
        digests=record["files"],
        source_digests=digests,
        tools=record["identity"]["tools"],
        settings=settings.read(plan, folder),
        config=dict(checkpoint.config),
        draft=home / speculation.FOLDER if draft else None,
        draft_digests=draft_digests,
    )


def require_libraries(plan: Plan) -> None:
    """Raise ConversionError, or UsageError, when this version or this machine cannot build the target."""
    target = house.plugin("targets", plan.target, option="--target")
    brought = [*artifact_key.exporter_files(plan.model_type), *artifact_key.converter_files(plan)]
    needed = {**target.REQUIREMENTS, **_extras(brought), **_kernels(plan)}
    missing = sorted({extra for module, extra in needed.items() if importlib.util.find_spec(module) is None})
    if missing:
        raise ConversionError(
            f"target {plan.target} needs {', '.join(missing)}, which is not installed",
            remedy=f"pip install {' '.join(repr(name) for name in missing)}",
        )


def _kernels(plan: Plan) -> dict[str, str]:
    if plan.stored is None:
        support = quantization.load(plan.quantize).targets.get(plan.target)
        return dict(support.requirements) if support else {}
    form = house.plugin("weight_formats", plan.stored.name, option="quant_method")
    return dict(getattr(form, "REQUIREMENTS", {}))


def _extras(brought: list[Path]) -> dict[str, str]:
    """Return module -> the extra that brings it, for all that these files import."""
    extras = tomllib.loads((house.folder("data") / "extras.toml").read_text(encoding="utf-8"))
    names = {name.split(".")[0] for file in brought for name in modules.imports(file)}
    return {name: f"builder[{extra}]" for name, extra in extras.items() if name in names}


def _intact(home: Path) -> bool:
    """Say whether the artifact is there and no file of it was touched since: repositories link to them."""
    if not (home / "artifact.json").is_file():
        return False
    stamps = json.loads((home / "artifact.json").read_text(encoding="utf-8")).get("stamps")
    return bool(stamps == _stamps(home))


def _stamps(home: Path) -> dict[str, list[int]]:
    """Return relative name -> size and modification time of every file that the engine or tokenizer reads."""
    found = [file for part in _PARTS for file in sorted((home / part).rglob("*"))]
    status = {str(file.relative_to(home)): file.stat() for file in found if file.is_file()}
    return {name: [one.st_size, one.st_mtime_ns] for name, one in status.items()}


def _name_of(checkpoint: Checkpoint) -> str:
    """Return what a checkpoint's conversion grows by: one of each, so that none is left for ever.

    It is not the artifact's key: once files or options have changed, nobody would come back for that.
    """
    here = Path(checkpoint.origin)
    named = str(here.resolve()) if here.exists() else checkpoint.origin
    return hashlib.sha256(named.encode()).hexdigest()[:16]


def _build(
    plan: Plan,
    folder: Path,
    draft: Path | None,
    home: Path,
    part: Path,
    identity: dict[str, Any],
    progress: Progress,
) -> None:
    doing = f"converting to {plan.target} {plan.quantize}"
    progress(doing, 0.0)

    def tell(share: float, more: str = "") -> None:
        progress(f"{doing}{more}", share)

    with files.staged(home) as stage:
        log = house.cache_folder() / "logs" / f"convert-{home.name[:16]}.log"
        converter.run(plan, folder, stage / "model", log, tell, part)
        if draft:
            log = log.with_suffix(".draft.log")
            converter.run(plan, draft, stage / speculation.FOLDER, log, tell)
        with _discarded(part):
            _complete(plan, folder, stage, identity)
    progress(doing, 1.0)


@contextmanager
def _discarded(part: Path) -> Iterator[None]:
    """Discard what a converter could go on with, unless the block is interrupted."""
    # numpy is not for those who only plan
    from builder.ranks import unfinished

    try:
        yield
    except Exception:
        unfinished.discard(part)
        raise
    unfinished.discard(part)


def _complete(plan: Plan, folder: Path, stage: Path, identity: dict[str, Any]) -> None:
    """Add the tokenizer, and the record of all that is there."""
    (stage / "tokenizer").mkdir()
    if any(model.member.tokenizes for model in plan.models):
        _move_tokenizer(folder, stage)
    written = {
        f"{part}/{name}": digest
        for part in _PARTS
        if (stage / part).is_dir()
        for name, digest in files.digests(stage / part).items()
    }
    record = {"identity": identity, "files": written, "stamps": _stamps(stage)}
    files.write_json(stage / "artifact.json", record)


def _move_tokenizer(folder: Path, stage: Path) -> None:
    """Keep one tokenizer, the source's own, and none inside the artifact: it would be a second truth."""
    tokenizer = stage / "tokenizer"
    for name in TOKENIZER_FILES:
        (stage / "model" / name).unlink(missing_ok=True)
        if (folder / name).is_file():
            # a copy: a link would let whoever edits a repository edit the checkpoint
            shutil.copyfile(folder / name, tokenizer / name)
    if not (tokenizer / "tokenizer.json").is_file():
        raise ConversionError(
            f"{folder} holds no tokenizer.json",
            expected="a fast tokenizer: it is what runs inside Triton",
            remedy="write one with transformers: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
        )
    if not (tokenizer / "chat_template.jinja").is_file():
        settings = _json(tokenizer / "tokenizer_config.json")
        template = settings.get("chat_template")
        if isinstance(template, str):
            (tokenizer / "chat_template.jinja").write_text(template, encoding="utf-8")


def _json(path: Path) -> dict[str, Any]:
    return source.read_json(path) if path.is_file() else {}
