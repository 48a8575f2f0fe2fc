"""A model repository as Triton will read it: every folder and every config.pbtxt, read once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builder import reading

LARGEST_VERSION = 2**63 - 1
_IGNORE = re.compile(r"#\s*check:\s*ignore\s+(TRN\d+\b(?:[\s,]+TRN\d+\b)*)", re.IGNORECASE)
_LEADING_NUMBER = re.compile(r"\s*[+-]?\d+")
# Triton looks for warm-up data, initial states and custom configs here, never for a version.
_NOT_VERSIONS = frozenset({"warmup", "initial_state", "configs"})


@dataclass(frozen=True)
class VersionFolder:
    """A folder inside a model; `number` is what Triton's std::stoll makes of its name, None if nothing."""

    path: Path
    number: int | None

    @property
    def is_exact(self) -> bool:
        """Return whether Triton will look for this version in this very folder."""
        return self.number is not None and self.path.name == str(self.number)


@dataclass(frozen=True)
class Model:
    """One model folder.

    `config` is Triton's own ModelConfig protobuf, None when there is no readable config.pbtxt;
    `parse_error` then says why, as "line:column: reason" for a syntax error. `text` is that of the file.
    `unread` is what kept the folder or its config from being read; `roots` are the checked folders, none of
    whose files is read outside them.
    """

    name: str
    path: Path
    config: Any
    parse_error: str
    folders: tuple[VersionFolder, ...]
    text: str = ""
    unread: OSError | None = None
    roots: tuple[Path, ...] = ()

    @property
    def backend(self) -> str:
        """Return the backend named in the config, "ensemble" for an ensemble, "" when none is named."""
        if self.config is None:
            return ""
        return "ensemble" if self.config.platform == "ensemble" else str(self.config.backend)

    @property
    def versions(self) -> tuple[int, ...]:
        """Return the version numbers that Triton finds, ascending."""
        return tuple(sorted({folder.number for folder in self.folders if folder.number is not None}))

    @property
    def served(self) -> tuple[int, ...]:
        """Return the versions that the version policy picks, ascending."""
        if self.config is None:
            return self.versions[-1:]
        policy = self.config.version_policy
        choice = policy.WhichOneof("policy_choice")
        if choice == "all":
            return self.versions
        if choice == "specific":
            return tuple(sorted(set(policy.specific.versions) & set(self.versions)))
        latest = policy.latest.num_versions if choice == "latest" else 1
        return self.versions[-latest:] if latest else ()

    def inputs(self) -> Mapping[str, Any]:
        """Return the inputs of the config by name, as protobuf messages."""
        return {} if self.config is None else {tensor.name: tensor for tensor in self.config.input}

    def outputs(self) -> Mapping[str, Any]:
        """Return the outputs of the config by name, as protobuf messages."""
        return {} if self.config is None else {tensor.name: tensor for tensor in self.config.output}

    @property
    def ignored(self) -> tuple[str, ...]:
        """Return what comments of its config leave out, as codes begin: `# check: ignore TRN729, TRN2`."""
        comments = _IGNORE.findall(self.text)
        return tuple(code for found in comments for code in found.upper().replace(",", " ").split())

    @property
    def is_stray(self) -> bool:
        """Return whether nothing in it looks like a model: no config, and no folder meant for a version."""
        if self.text or (self.path / "config.pbtxt").exists():
            return False
        return not (self.versions if self.name.startswith(".") else self.folders)

    @property
    def completes_itself(self) -> bool:
        """Return whether its Python code may add to the config (`auto_complete_config`)."""
        return self.code_mentions("def auto_complete_config")

    @property
    def processes(self) -> int:
        """Return how many Python processes Triton starts for it."""
        if self.backend != "python":
            return 0
        groups = self.config.instance_group
        each = sum(max(1, group.count) * max(1, len(group.gpus)) for group in groups) if groups else 1
        return int(each * len(self.served))

    def code_mentions(self, text: str) -> bool:
        """Return whether the model.py of a served version holds a text."""
        name = (self.config.default_model_filename if self.config is not None else "") or "model.py"
        files = [self.file(str(version), name) for version in self.served]
        return any(file is not None and text.encode() in reading.content(file) for file in files)

    def file(self, *parts: str) -> Path | None:
        """Return a plain file in the model's folder, None where there is none or the name leads out of it.

        Symlinks are followed, as those of a ConfigMap's mount must be, but for one that leads out of all
        checked folders: that raises LeadsOut. What `builder build` writes are copies and hard links.
        """
        inner = Path(os.path.normpath(os.path.join(*parts)))  # noqa: PTH118 - joined as text
        if inner.is_absolute() or inner.parts[:1] == ("..",):
            return None
        path = self.path / inner
        return self.reachable(path) if path.is_file() else None

    def files_below(self, version: int, suffix: str) -> list[Path]:
        """Return the plain files of a version, at any depth, whose names end so."""
        folder = self.path / str(version)
        return sorted(reading.below(self.reachable(folder), suffix)) if folder.is_dir() else []

    def reachable(self, path: Path) -> Path:
        """Return a path of the checked folders as it is; raise LeadsOut for one that symlinks lead away."""
        if not _is_within(path, self.roots):
            raise reading.LeadsOut(path)
        return path

    @property
    def has_manifest(self) -> bool:
        """Return whether `builder build` wrote it as the front of a deployment."""
        return any((self.path / str(version) / "manifest.json").is_file() for version in self.served)


@dataclass(frozen=True, eq=False)
class Layout:
    """A whole repository; `problem` says why a folder itself could not be read.

    `twins` are models of a name that a folder given before has too; `parts` are the folders one by one.
    """

    path: Path
    models: Mapping[str, Model]
    problem: str = ""
    twins: tuple[Model, ...] = ()
    parts: tuple[Layout, ...] = ()

    @property
    def is_model(self) -> bool:
        """Return whether the folder is a model's own, which holds a config.pbtxt and no models."""
        return not self.models and _has_config(self.path)

    def owner(self, path: str) -> Model | None:
        """Return the model in whose folder a path is, None for none."""
        for folder in (Path(path), *Path(path).parents):
            model = self.models.get(folder.name)
            if model is not None and model.path == folder:
                return model
        return None

    def find(self, told: str) -> Path | None:
        """Return where a path of the server's machine stands in this repository, None where it may not.

        The repository may be mounted anywhere there: what counts is a model's name and what follows it.
        """
        parts = Path(told).parts
        for place in range(len(parts) - 2, -1, -1):
            model = self.models.get(parts[place])
            if model is not None and ".." not in parts and (model.path / parts[place + 1]).exists():
                return model.path.joinpath(*parts[place + 1 :])
        return None


def read(*repositories: Path) -> Layout:
    """Read every model of what Triton would serve together; nothing raises, problems are in the result."""
    roots = tuple(Path(os.path.realpath(repository)) for repository in repositories)
    parts = [_read_one(repository, roots) for repository in repositories]
    models: dict[str, Model] = {}
    twins = [
        model
        for part in parts
        for model in part.models.values()
        if models.setdefault(model.name, model) is not model
    ]
    problem = "\n".join(part.problem for part in parts if part.problem)
    return Layout(parts[0].path, models, problem, tuple(twins), tuple(parts))


def _read_one(repository: Path, roots: tuple[Path, ...]) -> Layout:
    try:
        # at the top Triton takes every folder for a model, a hidden one too
        folders = sorted(entry for entry in repository.iterdir() if _is_folder(entry))
    except FileNotFoundError:
        return Layout(repository, {}, f"{repository} does not exist")
    except NotADirectoryError:
        return Layout(repository, {}, f"{repository} is not a folder")
    except PermissionError:
        return Layout(repository, {}, f"{repository} is not readable by this user")
    except OSError as error:
        return Layout(repository, {}, f"{repository} is not readable: {error.strerror}")
    if _has_config(repository) and not any(map(_has_config, folders)):
        return Layout(repository, {})
    return Layout(repository, {folder.name: _read_model(folder, roots) for folder in folders})


def _has_config(folder: Path) -> bool:
    try:
        return (folder / "config.pbtxt").is_file()
    except OSError:
        return False


def _is_folder(entry: Path) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # reading it then says what is wrong with it
        return True


def _is_within(path: Path, roots: tuple[Path, ...]) -> bool:
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(root) for root in roots)


def _subfolders(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".") and _is_folder(entry)]


def _read_model(folder: Path, roots: tuple[Path, ...]) -> Model:
    model = Model(folder.name, folder, None, "", (), roots=roots)
    try:
        folders = sorted(_subfolders(model.reachable(folder)))
        model = replace(model, folders=tuple(map(_version, folders)))
        config, problem, text = _read_config(model, folder / "config.pbtxt")
    except OSError as error:
        return replace(model, parse_error=f"{error.filename} cannot be read: {error.strerror}", unread=error)
    return replace(model, config=config, parse_error=problem, text=text)


def _version(folder: Path) -> VersionFolder:
    number = _LEADING_NUMBER.match(folder.name)
    zeros = len(folder.name) > 1 and folder.name.startswith("0")
    if number is None or zeros or folder.name in _NOT_VERSIONS:
        return VersionFolder(folder, None)
    return VersionFolder(folder, int(number[0]))


def _read_config(model: Model, path: Path) -> tuple[Any, str, str]:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    if not path.is_file():
        return None, f"{path} does not exist", ""
    text = ""
    try:
        text = _with_plain_line_ends(reading.content(model.reachable(path)).decode())
        return text_format.Parse(text, model_config_pb2.ModelConfig()), "", text
    except (text_format.ParseError, ValueError, RecursionError) as error:
        return None, str(error), text


def _with_plain_line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
