"""A model of a table: scikit-learn's pickle or .skops file, XGBoost's .ubj or .json, LightGBM's .txt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from builder import graph, ubjson
from builder.errors import SourceError
from builder.graph import Unsuitable
from builder.source import Checkpoint, fingerprint, read_json
from builder.tabular import endings, lightgbm, reading, sklearn, xgboost

NATIVE = (".ubj", ".json", ".txt")
_WRITTEN_BY = {".json": "XGBoost's save_model", ".txt": "LightGBM's save_model"}
_PICKLE = b"\x80"
SUFFIXES = (*endings.PICKLES, endings.SKOPS, ".ubj")
_HEAD = 256


def recognises(reference: str) -> bool:
    """Say whether the reference is called like a saved model, or is .json or .txt and begins like one."""
    if reference.startswith("package:"):
        return False
    path = Path(reference)
    suffix = path.suffix.lower()
    return suffix in SUFFIXES or (suffix in NATIVE and path.is_file() and _begins_like_a_model(path))


def doubt(path: Path) -> str:
    """Return what keeps a path from being a saved model, where it might be taken for one, else nothing."""
    suffix = path.suffix.lower()
    if not path.is_file():
        return ""
    if suffix in _WRITTEN_BY:
        return f"it does not begin as what {_WRITTEN_BY[suffix]} writes"
    with path.open("rb") as file:
        looks_pickled = file.read(1) == _PICKLE
    return f"it looks like a pickle, which is read by the name {_pickles()} only" if looks_pickled else ""


def _pickles() -> str:
    return " or ".join(f"*{suffix}" for suffix in endings.PICKLES)


def read(reference: str, revision: str | None) -> Checkpoint:
    """Read what a model says of its columns and answers; `revision` has no meaning for it.

    XGBoost's and LightGBM's own files are read as data; the others are loaded by the library that saved
    them, a pickle only with the user's trust. The config holds `inputs` and `outputs` (name, Triton's data
    type, dims, and for inputs the `categories` or `ranges` that it was fitted on), `kind` (classifier or
    regressor), `labels` (the classes as text) and `weight_bytes`.

    Raises:
        SourceError: no trust, a file that cannot be read, or a model whose answers a graph cannot give.
    """
    path = Path(reference)
    graph.require_file(path, "a saved model")
    try:
        config = {**describe(path), "weight_bytes": path.stat().st_size}
    except Unsuitable as problem:
        raise problem.at(path) from problem
    return Checkpoint(
        format="tabular",
        origin=reference,
        path=path,
        files=(path,),
        config=config,
        tensors={},
        tokenizer_files={},
        chat_template=None,
        fingerprint=fingerprint([path], [json.dumps(config, sort_keys=True).encode()]),
        revision=revision or "",
    )


def describe(path: Path) -> dict[str, Any]:
    """Return the config of a model, without its size."""
    suffix = path.suffix.lower()
    if suffix == ".txt":
        return lightgbm.config(path.read_bytes())
    if suffix == ".json":
        return xgboost.config(read_json(path))
    if suffix == ".ubj":
        return xgboost.config(_ubjson(path))
    return sklearn.config(reading.load(path))


def _ubjson(path: Path) -> dict[str, Any]:
    try:
        found = ubjson.loads(path.read_bytes())
    except ubjson.Broken as problem:
        raise SourceError(
            f"{path} is no UBJSON: {problem}",
            expected="what XGBoost's save_model writes",
            remedy="save or fetch it again",
        ) from problem
    return found if isinstance(found, dict) else {}


def _begins_like_a_model(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if path.suffix.lower() == ".txt":
        return head.startswith(lightgbm.MAGIC)
    return head.lstrip().startswith(b"{") and b'"learner"' in head
