"""A saved Python object of scikit-learn, XGBoost or LightGBM -> the object."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from builder import trust
from builder.errors import SourceError
from builder.tabular.endings import SKOPS

# Can't get attribute 'Mine' on <module '__main__' from '...'>
_IN_MAIN = re.compile(r"Can't get attribute '([\w.]+)' on <module '(?:\w+\.)*__(?:mp_)?main__'")
_REQUIREMENT = "pip install 'builder[tabular]'"


def load(path: Path) -> Any:
    """Return the object of a pickle, of joblib's or of skops' file.

    A pickle is read with trust only; a .skops file without, where all types in it are ones that skops knows
    to run no code (https://skops.readthedocs.io/en/stable/persistence.html).

    Raises:
        SourceError: no trust, a library is missing, or the file cannot be read.
    """
    if path.suffix.lower() == SKOPS:
        return _skops(path)
    trust.require(path)
    _require("joblib", path)
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:
        # it ran code: anything may have been raised
        raise _unreadable(path, error) from error


def _skops(path: Path) -> Any:
    _require("skops", path)
    from skops import io

    try:
        unknown = io.get_untrusted_types(file=path)
    except Exception as error:
        raise _unreadable(path, error) from error
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        trust.require(
            path,
            f"holds {', '.join(unknown[:3])}{more}, which skops does not know to be safe",
            "only types that are",
        )
    try:
        return io.load(path, trusted=unknown)
    except Exception as error:
        raise _unreadable(path, error) from error


def _require(module: str, path: Path) -> None:
    if importlib.util.find_spec(module) is None:
        raise SourceError(
            f"reading {path} needs {module}, which is not installed",
            expected="the libraries that the model was saved with",
            remedy=_REQUIREMENT,
        )


def _unreadable(path: Path, error: Exception) -> SourceError:
    if isinstance(error, ImportError):
        return SourceError(
            f"{path} needs {error.name or error}, which is not installed",
            expected="the libraries that the model was saved with",
            remedy=f"{_REQUIREMENT}, and what the model's own code needs",
        )
    lost = _IN_MAIN.search(str(error)) if isinstance(error, AttributeError) else None
    if lost:
        return SourceError(
            f"{path} needs {lost[1]} of the script that saved it: a pickle holds no code, only where it was "
            "defined, and that script is not running here",
            expected="classes and functions that can be imported from an installed module",
            remedy=f"move {lost[1]} to a module, install that here, and save the model again from a script "
            "that imports it; or save the model without it",
        )
    return SourceError(
        f"{path} cannot be read: {type(error).__name__}: {error}",
        expected="a whole file, saved by the versions of the libraries that are installed",
        remedy="save it again with these versions, or install those that it was saved with",
    )
