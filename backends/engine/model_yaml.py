"""model.yaml, in which NVIDIA's Triton model for TensorRT-LLM's LLM API is told its arguments.

TensorRT-LLM 1.0 to 1.2, triton_backend/all_models/llmapi: `triton_config` is Triton's, the rest for LLM().
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backends.engine.protocol import EngineError

FILE = "model.yaml"
MOUNT = Path("/models")
"""Where the repository is in a container: paths in the file begin so."""


def read(folder: Path) -> dict[str, Any] | None:
    """Return what the file of a version folder says, None where there is none; EngineError for no mapping."""
    path = folder / FILE
    if not path.is_file():
        return None
    import yaml  # TensorRT-LLM needs it itself

    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise EngineError(f"{path} cannot be read: {error}") from error
    if not isinstance(told, dict) or not isinstance(told.get("triton_config", {}), dict):
        raise EngineError(f"{path} is no mapping of names to values, with triton_config as another one")
    return told


def is_decoupled(folder: Path) -> bool:
    """Say whether the file has the model answer in parts; without a word of it NVIDIA's does not."""
    told = read(folder) or {}
    return bool(told.get("triton_config", {}).get("decoupled", False))


def llm(folder: Path) -> tuple[Path, Path, dict[str, Any]] | None:
    """Return the checkpoint, the tokenizer and the other arguments of LLM(); None where there is no file."""
    told = read(folder)
    if told is None:
        return None
    model = _here(folder, str(told.pop("model", "model")))
    if not (model / "config.json").is_file():
        raise EngineError(
            f"{folder / FILE} names the model {model}, which holds no config.json: "
            "a folder with a checkpoint is expected"
        )
    tokenizer = _here(folder, str(told.pop("tokenizer", "tokenizer")))
    told.pop("triton_config", None)
    return model, tokenizer, told


def _here(folder: Path, path: str) -> Path:
    """Return a path of the file where it is: relative ones and the version folder's own lie in that."""
    home = MOUNT / folder.parent.name / folder.name
    return folder / (Path(path).relative_to(home) if Path(path).is_relative_to(home) else path)
