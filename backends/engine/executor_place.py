"""Whether an engine of TensorRT-LLM can run where its front is being loaded.

The backend itself says of a foreign engine only that a version tag does not match, and of a missing one
"[json.exception.parse_error.101]". So the front looks first, and says it with the numbers.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.engine.protocol import EngineError

ENGINE = "engine"
"""The folder of the engine's version that holds its ranks."""

_QUERY = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]


def require(settings: Mapping[str, Any], folder: Path) -> None:
    """Raise EngineError with the numbers for an engine that is not whole, or of another place than this.

    Args:
        settings: engine_arguments may hold `version` (of TensorRT-LLM), `compute` and `ranks`; what is not
            told is not compared.
        folder: the front's version; the engine's is that of the same number.
    """
    told = settings["engine_arguments"]
    if "ranks" not in told:
        return
    _require_ranks(folder.parent.parent / settings["engine_model"] / folder.name, int(told["ranks"]))
    require_same(settings["engine_model"], told, _installed(), _capabilities())


def require_same(name: str, told: Mapping[str, Any], version: str, compute: Sequence[str]) -> None:
    """Raise EngineError for another TensorRT-LLM or GPU; "" and () are not known."""
    # what comes behind the third number is the image's
    if version and version.split(".")[:3] != told["version"].split(".")[:3]:
        raise EngineError(
            f"{name} was built by TensorRT-LLM {told['version']}, and here is {version}: an engine is read "
            "by the version that built it alone"
        )
    if compute and told["compute"] not in compute:
        raise EngineError(
            f"{name} was built for GPUs of compute capability {told['compute']}, and here are those of "
            f"{', '.join(compute)}: build it again on one of them"
        )


def _require_ranks(home: Path, ranks: int) -> None:
    engine, script = home / ENGINE, home / "build-engine.sh"
    if not home.is_dir():
        return  # in an object store Triton brings each model to a place of its own
    if not (engine / "config.json").is_file():
        raise EngineError(f"{engine} holds no engine yet: run {script} where Docker and the GPU are")
    wanted = [f"rank{rank}.engine" for rank in range(ranks)]
    bad = [name for name in wanted if not (engine / name).is_file() or not (engine / name).stat().st_size]
    if bad:
        raise EngineError(
            f"{engine} was built for {ranks} ranks; missing or empty: {', '.join(bad)}: copy the whole "
            "folder again"
        )
    try:
        built = json.loads((engine / "config.json").read_text(encoding="utf-8"))
        size = built["pretrained_config"]["mapping"]["world_size"]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{engine}/config.json is not that of an engine: {error!r}") from error
    if size != ranks:
        raise EngineError(f"{engine} was built for {size} ranks, and this deployment for {ranks}")


def _installed() -> str:
    try:
        return importlib.metadata.version("tensorrt_llm")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _capabilities() -> tuple[str, ...]:
    try:
        said = subprocess.run(_QUERY, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ()
    return tuple(dict.fromkeys(line.strip() for line in said.splitlines() if line.strip()))
