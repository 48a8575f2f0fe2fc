"""What a front says of an engine that cannot run where it is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backends.engine import executor_place
from backends.engine.protocol import EngineError

TOLD = {"version": "1.2.1", "vocabulary": 9, "compute": "9.0", "ranks": 2}
SETTINGS: dict[str, Any] = {"engine_arguments": TOLD, "engine_model": "m_engine"}


@pytest.fixture
def front(tmp_path: Path) -> Path:
    """Return the version folder of a front beside whose engine's model nothing is missing."""
    engine = tmp_path / "m_engine" / "3" / "engine"
    engine.mkdir(parents=True)
    (engine / "config.json").write_text(json.dumps({"pretrained_config": {"mapping": {"world_size": 2}}}))
    for rank in range(2):
        (engine / f"rank{rank}.engine").write_bytes(b"ftrt")
    return tmp_path / "m" / "3"


def refused(front: Path, settings: dict[str, Any] = SETTINGS) -> str:
    with pytest.raises(EngineError) as found:
        executor_place.require(settings, front)
    return str(found.value)


def test_a_whole_engine_is_no_problem(front: Path) -> None:
    executor_place.require(SETTINGS, front)
    executor_place.require_same("m_engine", TOLD, "1.2.1", ("8.9", "9.0"))
    executor_place.require_same("m_engine", TOLD, "", ())
    executor_place.require_same("m_engine", {**TOLD, "version": "1.0.3.2510"}, "1.0.3", ())


def test_an_engine_that_is_not_built_yet(front: Path) -> None:
    (front.parent.parent / "m_engine" / "3" / "engine" / "config.json").unlink()
    said = refused(front)
    assert "holds no engine yet: run" in said and "m_engine/3/build-engine.sh" in said


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_ranks_that_are_missing_or_empty(front: Path, spoil: Any) -> None:
    spoil(front.parent.parent / "m_engine" / "3" / "engine" / "rank1.engine")
    assert "built for 2 ranks; missing or empty: rank1.engine" in refused(front)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '{"pretrained_config": {"mapping": {"world_size": 4}}}',
            "built for 4 ranks, and this deployment for 2",
        ),
        ('{"architecture": "LlamaForCausalLM"}', "is not that of an engine: KeyError('pretrained_config')"),
        ("{", "is not that of an engine: JSONDecodeError"),
    ],
)
def test_a_config_of_something_else(front: Path, text: str, words: str) -> None:
    (front.parent.parent / "m_engine" / "3" / "engine" / "config.json").write_text(text)
    assert words in refused(front)


def test_another_version_and_another_gpu_are_told_with_both_numbers() -> None:
    with pytest.raises(EngineError, match=r"built by TensorRT-LLM 1\.2\.1, and here is 1\.1\.0"):
        executor_place.require_same("m_engine", TOLD, "1.1.0", ("9.0",))
    with pytest.raises(EngineError, match=r"compute capability 9\.0, and here are those of 8\.9, 8\.0"):
        executor_place.require_same("m_engine", TOLD, "1.2.1", ("8.9", "8.0"))


def test_what_is_not_told_is_not_compared(tmp_path: Path) -> None:
    executor_place.require({"engine_arguments": {"version": "1.2.1"}, "engine_model": "m"}, tmp_path)
    # each model of an object store lies in a place of its own
    executor_place.require(SETTINGS, tmp_path / "elsewhere" / "m" / "1")
