"""Served: a model repository as Triton is asked to serve it, read from its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import contract
from builder.errors import VerifyError


@dataclass(frozen=True)
class Repository:
    """The folder, and for every model in it the ModelConfig that was written and its newest version."""

    folder: Path
    configs: Mapping[str, Any]
    versions: Mapping[str, int]

    def version_folder(self, name: str) -> Path:
        """Return the folder of a model's newest version."""
        return self.folder / name / str(self.versions[name])

    def contract(self, name: str) -> str:
        """Return what a front's manifest says clients see of it: a file of `contracts/`."""
        try:
            text = (self.version_folder(name) / "manifest.json").read_text(encoding="utf-8")
            return str(json.loads(text)["plan"].get("contract", contract.USUAL))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # whoever reads it whole says what is wrong with it
            return contract.USUAL

    def fronts(self) -> list[str]:
        """Return the models that carry a manifest: those that clients talk to."""
        return [name for name in self.configs if (self.version_folder(name) / "manifest.json").is_file()]


def read_repository(folder: Path) -> Repository:
    """Read every model folder; raise VerifyError when there is none or one cannot be read."""
    configs, versions = {}, {}
    for path in sorted(folder.glob("*/config.pbtxt")):
        name = path.parent.name
        configs[name] = _config(path)
        numbered = [int(child.name) for child in path.parent.iterdir() if child.name.isdigit()]
        if not numbered:
            raise VerifyError(f"{path.parent} has no version folder", remedy="builder build")
        versions[name] = max(numbered)
    if not configs:
        raise VerifyError(
            f"{folder} holds no model",
            expected="one folder per model, each with a config.pbtxt",
            remedy="pass the folder that `builder build` wrote",
        )
    return Repository(folder, configs, versions)


def _config(path: Path) -> Any:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise VerifyError(f"{path} is not a model configuration: {error}", remedy="builder check") from error
    if not config.name:
        config.name = path.parent.name
    return config
