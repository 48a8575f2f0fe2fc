"""A model repository as Triton will read it: every folder and every config.pbtxt, read once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST_VERSION = 2**63 - 1
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
    `parse_error` then says why, as "line:column: reason" for a syntax error.
    """

    name: str
    path: Path
    config: Any
    parse_error: str
    folders: tuple[VersionFolder, ...]

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
    def has_manifest(self) -> bool:
        """Return whether `builder build` wrote it as the front of a deployment."""
        return any((self.path / str(version) / "manifest.json").is_file() for version in self.served)


@dataclass(frozen=True)
class Layout:
    """A whole repository; `problem` says why the folder itself could not be read."""

    path: Path
    models: Mapping[str, Model]
    problem: str = ""


def read(repository: Path) -> Layout:
    """Read every model of a repository; nothing raises, what cannot be read is in the result."""
    try:
        folders = sorted(_subfolders(repository), key=lambda folder: folder.name)
    except FileNotFoundError:
        return Layout(repository, {}, f"{repository} does not exist")
    except NotADirectoryError:
        return Layout(repository, {}, f"{repository} is not a folder")
    except PermissionError:
        return Layout(repository, {}, f"{repository} is not readable by this user")
    return Layout(repository, {folder.name: _read_model(folder) for folder in folders})


def _subfolders(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.is_dir()]


def _read_model(folder: Path) -> Model:
    try:
        folders = tuple(_version(entry) for entry in sorted(_subfolders(folder)))
        config, problem = _read_config(folder / "config.pbtxt")
    except PermissionError as error:
        return Model(folder.name, folder, None, f"{error.filename} is not readable by this user", ())
    return Model(folder.name, folder, config, problem, folders)


def _version(folder: Path) -> VersionFolder:
    number = _LEADING_NUMBER.match(folder.name)
    zeros = len(folder.name) > 1 and folder.name.startswith("0")
    if number is None or zeros or folder.name in _NOT_VERSIONS:
        return VersionFolder(folder, None)
    return VersionFolder(folder, int(number[0]))


def _read_config(path: Path) -> tuple[Any, str]:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    if not path.is_file():
        return None, f"{path} does not exist"
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig()), ""
    except (text_format.ParseError, UnicodeDecodeError) as error:
        return None, str(error)
