"""An imported repository, written for its container: nothing unfilled, engine and tokenizer inside."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builder import contract, files
from builder.check import check
from builder.errors import RepositoryError, UsageError
from builder.inflight_batcher import engine, laying, loading, naming, tables, templates
from builder.inflight_batcher.engine import BACKEND, Settings
from builder.inflight_batcher.imported import ENGINE, TOKENIZING, Imported
from builder.repository import staging
from builder.rule import Host

_ACCEPTED = {
    "postprocessing": "TRN725: answers of several lengths are not batched, as NVIDIA has it",
    "tensorrt_llm_bls": "TRN710: its clients stream by gRPC, or by generate_stream",
}
"""What `check` warns of in NVIDIA's models as they are meant."""

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


@dataclass(frozen=True)
class Written:
    """Where it was written, which parameters were left out and why, and what `check` warns of."""

    path: Path
    dropped: Mapping[str, str]
    warnings: tuple[str, ...]


def examined(imported: Imported) -> Imported:
    """Return it with what the backend would refuse of its parameters among the problems."""
    if imported.engine is None or ENGINE not in imported.models:
        return imported
    try:
        _text(imported, ENGINE, imported.models[ENGINE], {})
    except UsageError as error:
        return replace(imported, problems=(*imported.problems, error))
    return imported


def write(imported: Imported, output: Path) -> Written:
    """Write the repository, check it, and move it to `output` whole.

    Raises:
        RepositoryError: something is unknown or broken, `output` is there already, or the result has errors.
    """
    _require_sound(imported)
    if output.exists():
        raise RepositoryError(
            f"{output} is there already",
            expected="a folder that is yet to be made",
            remedy="name another --output",
        )
    assert imported.container is not None
    dropped: dict[str, str] = {}
    with staging(output) as stage:
        with files.translated(RepositoryError, f"copying {imported.path}"):
            _lay(imported, stage, laying.COPIED, dropped)
        warnings = _warned(stage, imported.container.container.tag)
        with files.translated(RepositoryError, f"writing {output}"):
            stage.rename(output)
    return Written(output, dropped, warnings)


def checked(imported: Imported) -> Imported:
    """Return it with what Triton would refuse of it among the problems, once nothing else is left.

    It is laid out of links in a folder that vanishes: no engine is copied to be looked at.
    """
    if imported.problems or imported.container is None:
        return imported
    with tempfile.TemporaryDirectory() as folder:
        try:
            with files.translated(RepositoryError, f"reading {imported.path}"):
                _lay(imported, Path(folder), laying.LINKED, {})
            _warned(Path(folder), imported.container.container.tag)
        except RepositoryError as error:
            return replace(imported, problems=(error,))
    return imported


def _lay(imported: Imported, stage: Path, way: laying.Way, dropped: dict[str, str]) -> None:
    assert imported.engine is not None
    for name, config in naming.adapted(imported.models, imported.engine.version).models.items():
        home = stage / name
        home.mkdir()
        laying.code(imported.path / name, home, way)
        text = _text(imported, name, config, dropped)
        (home / "config.pbtxt").write_text(text, encoding="utf-8")
    laying.place(imported, stage, way)


def _require_sound(imported: Imported) -> None:
    # most else is asked of the engine, so its fault is told alone
    if imported.problems and (imported.engine is None or len(imported.problems) == 1):
        raise imported.problems[0]
    if imported.problems:
        raise RepositoryError(
            f"{len(imported.problems)} things keep {imported.path} from being written:\n"
            + "\n".join(f"  {one.found}" for one in imported.problems),
            expected="; ".join(dict.fromkeys(one.expected for one in imported.problems if one.expected)),
            remedy="; ".join(dict.fromkeys(one.remedy for one in imported.problems if one.remedy)),
        )


def _text(imported: Imported, name: str, config: Any, dropped: dict[str, str]) -> str:
    from google.protobuf import text_format

    changed = type(config)()
    changed.CopyFrom(config)
    for side in ("input", "output"):
        _once(getattr(changed, side))
    told = {key: config.parameters[key].string_value for key in config.parameters}
    changed.parameters.clear()
    for key, value in _parameters(imported, name, config.backend, told, dropped).items():
        changed.parameters[key].string_value = value
    comment = f"# check: ignore {_ACCEPTED[name]}\n" if name in _ACCEPTED else ""
    return comment + str(text_format.MessageToString(changed))


def _once(tensors: Any) -> None:
    """Leave the first of tensors that are called alike: Triton refuses two from 26.05 on."""
    kept = {tensor.name: tensor for tensor in reversed(list(tensors))}
    ordered = [kept[name] for name in dict.fromkeys(tensor.name for tensor in tensors)]
    copies = [type(one).FromString(one.SerializeToString()) for one in ordered]
    del tensors[:]
    tensors.extend(copies)


def _parameters(
    imported: Imported, model: str, backend: str, told: Mapping[str, str], dropped: dict[str, str]
) -> dict[str, str]:
    """Return a model's parameters: those that are set, with the places of engine and tokenizer."""
    given = {name: value for name, value in told.items() if not templates.is_unset(value)}
    needs_tokenizer = "tokenizer_dir" in (given if model == ENGINE else told)
    if imported.tokenizer is not None and needs_tokenizer:
        given["tokenizer_dir"] = f"{contract.MODELS}/{TOKENIZING}/{laying.VERSION}/tokenizer"
    if "gpt_model_path" in told or model == ENGINE:
        given["gpt_model_path"] = f"{contract.MODELS}/{ENGINE}/{laying.VERSION}"
    if model != ENGINE:
        # NVIDIA's Python models look for some by name, and take an empty one for none
        return {name: given.get(name, "") for name in told}
    for name in sorted(set(told) - set(given)):
        dropped[f"{model}: {name}"] = "not set: the default of the backend"
    if backend != BACKEND:
        return given
    known = tables.parameters()
    for name in sorted(set(given) - set(known)):
        dropped[f"{model}: {name}"] = f"backend {BACKEND} does not read it"
    read = {name: read_value(name, given[name], known[name]["kind"]) for name in given if name in known}
    most = imported.models[model].max_batch_size
    assert imported.engine is not None
    made = engine.texts(Settings(most, imported.engine.version, read, ranks=imported.engine.ranks))
    loading.require_built(read, imported.engine)
    return made


def read_value(name: str, text: str, kind: str) -> Any:
    """Return a parameter's value as Python has it; raise UsageError for what the backend could not read."""
    readers: Mapping[str, Callable[[str], Any]] = {
        "bool": _boolean,
        "int": int,
        "float": float,
        "ints": lambda words: [int(word) for word in words.split(",")],
    }
    try:
        return readers[kind](text) if kind in readers else text
    except ValueError as error:
        raise UsageError(
            f"{ENGINE}/config.pbtxt: parameter {name} is {text!r}",
            expected={"bool": "true or false", "ints": "numbers between commas"}.get(kind, f"one {kind}"),
        ) from error


def _boolean(text: str) -> bool:
    if text.lower() in (*_TRUE, *_FALSE):
        return text.lower() in _TRUE
    raise ValueError(text)


def _warned(stage: Path, triton: str) -> tuple[str, ...]:
    """Return what `check` warns of; raise RepositoryError for what Triton would refuse.

    NVIDIA's launcher starts Triton so that no backend adds to a config.
    """
    found = check(stage, host=Host(triton, completes=False))
    errors = [
        f"  {one.path}: {one.message} ({one.code}; {one.remedy})"
        for one in found
        if one.severity != "warning"
    ]
    if errors:
        raise RepositoryError(
            f"the repository would have {len(errors)} finding{'s' * (len(errors) != 1)} in Triton {triton}:\n"
            + "\n".join(errors),
            expected="none: it is not written with any",
            remedy="mend them in the repository that is imported",
        )
    return tuple(f"{one.code} {one.path}: {one.message}" for one in found)
