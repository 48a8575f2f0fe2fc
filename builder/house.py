"""Where things are: the folders shipped with the program, the cache, and the plug-in files."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from builder.errors import UsageError

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """Return the folder `backends`, `ensembles`, `docker` or `recipes`, in the wheel or in a clone."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def cache_folder() -> Path:
    """Return the folder for artifacts and digests: $BUILDER_CACHE, else the XDG cache."""
    named = os.environ.get("BUILDER_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "builder"


def plugin_names(package: str) -> list[str]:
    """Return the option values that the files of `builder/<package>/` offer; dots part folders."""
    return sorted(module.name for module in pkgutil.iter_modules([str(_PACKAGE / package.replace(".", "/"))]))


def plugin(package: str, name: str, *, option: str) -> ModuleType:
    """Import `builder/<package>/<name>.py`; raise UsageError naming what exists when there is none."""
    names = plugin_names(package)
    if name not in names:
        raise UsageError(f"{option} {name!r} does not exist", expected=f"one of {', '.join(names)}")
    return importlib.import_module(f"builder.{package}.{name}")


def load_file(path: Path) -> ModuleType:
    """Import one Python file by its path, such as `ensembles/text_generation.py`."""
    specification = importlib.util.spec_from_file_location(f"builder_file_{path.stem}", path)
    if specification is None or specification.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(specification)
    # a dataclass looks its module up here
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module
