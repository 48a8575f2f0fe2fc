"""Rules about models of the Python backend."""

from __future__ import annotations

import json
from collections.abc import Iterator

from builder.check import Finding
from builder.layout import Layout, Model

# What the models that `builder build` writes read from their version folder at load.
_SETTINGS = "settings.json"


def model_file_missing(model: Model, repository: Layout) -> Iterator[Finding]:
    """The stub of a served version without its model.py exits, and Triton 2.51 waits for it for ever."""
    if model.backend != "python":
        return
    name = model.config.default_model_filename or "model.py"
    for version in model.served:
        folder = model.path / str(version)
        # A folder that is not there at all is version_misread's to tell.
        if folder.is_dir() and not (folder / name).is_file():
            yield Finding(
                "model-file-missing",
                "fatal",
                f"{model.name}/{version}/{name}",
                f"{model.name}/{version} has no {name}: the boot of Triton 24.10 hangs on it for ever",
                f"put {name} there, or remove the folder {model.name}/{version}",
            )


def version_file_missing(model: Model, repository: Layout) -> Iterator[Finding]:
    """A version written by `builder build` needs the artifact that its settings name, and its tokenizer."""
    if model.backend != "python":
        return
    for version in model.served:
        folder = model.path / str(version)
        if not (folder / _SETTINGS).is_file() or not (folder / "backends").is_dir():
            continue
        needed = ["tokenizer/tokenizer.json"]
        problem = ""
        try:
            settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
            needed += [settings["model"]] if "model" in settings else []
        except (ValueError, TypeError) as error:
            problem = f"{_SETTINGS} is not JSON: {error}"
        problems = [f"{name} does not exist" for name in needed if not (folder / name).exists()]
        for text in [problem, *problems] if problem else problems:
            yield Finding(
                "version-file-missing",
                "error",
                f"{model.name}/{version}",
                f"{model.name}/{version}: {text}",
                "build this version again with `builder build`",
            )
