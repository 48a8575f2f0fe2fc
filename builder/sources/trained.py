"""A model trained on the spot: `trained:NAME`, by `training/NAME.py`, from data that a library carries.

Its recipe publishes what it takes and gives, so that nothing is trained, or loaded, before a build. What
was trained here is read without the user's trust, as long as it is byte for byte what training wrote.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import tempfile
from pathlib import Path

from builder import house, recipe
from builder.errors import SourceError, UsageError
from builder.source import Checkpoint, Progress

PREFIX = "trained:"
LIBRARY = "scikit-learn"
NEEDS = ("sklearn", "pandas")


def recognises(reference: str) -> bool:
    """Say whether the reference begins with `trained:`."""
    return reference.startswith(PREFIX)


def read(reference: str, revision: str | None) -> Checkpoint:
    """Return what the recipe of this name says of the model; its file may not be there before `fetch`.

    Raises:
        UsageError: nothing of this name can be trained.
        SourceError: the file is not the one that training wrote.
    """
    name = reference.removeprefix(PREFIX)
    known = house.plugin_names("training")
    if name not in known:
        raise UsageError(f"{reference!r} cannot be trained", expected=f"one of {', '.join(known)}")
    path = _path(name)
    if path.exists():
        _require_ours(path)
    return Checkpoint(
        format="trained",
        origin=reference,
        path=path,
        files=(path,),
        config=recipe.load(name).config,
        tensors={},
        tokenizer_files={},
        chat_template=None,
        fingerprint=_key(name),
        revision=revision or _version(),
    )


def fetch(checkpoint: Checkpoint, progress: Progress | None = None) -> Checkpoint:
    """Train the model, and keep it in the cache together with its digest.

    Raises:
        SourceError: a library is missing.
    """
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise SourceError(
            f"training {checkpoint.origin} needs {', '.join(missing)}, which is not installed",
            expected="scikit-learn, which carries the data",
            remedy="pip install 'builder[tabular]'",
        )
    name = checkpoint.origin.removeprefix(PREFIX)
    model = house.plugin("training", name, option="trained:").train()
    checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
    _write(_record(checkpoint.path), hashlib.sha256(model).hexdigest().encode())
    _write(checkpoint.path, model)
    if progress:
        progress(len(model), len(model))
    return checkpoint


def _path(name: str) -> Path:
    return house.cache_folder() / "trained" / f"{name}-{_key(name)[:16]}.pkl"


def _record(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _key(name: str) -> str:
    """Return 64 hexadecimal digits that change with the code that trains and the library that learns."""
    code = (Path(__file__).parent.parent / "training" / f"{name}.py").read_bytes()
    return hashlib.sha256(code + b"\0" + _version().encode()).hexdigest()


def _version() -> str:
    try:
        return f"{LIBRARY} {importlib.metadata.version(LIBRARY)}"
    except importlib.metadata.PackageNotFoundError:
        return ""


def _require_ours(path: Path) -> None:
    record = _record(path)
    written = record.read_text(encoding="ascii").strip() if record.is_file() else "no digest"
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != written:
        raise SourceError(
            f"{path} is not what was trained here: its sha256 is {found}",
            expected=f"{written}, which training wrote down",
            remedy=f"remove {path}: the next build trains it again",
        )


def _write(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
