"""The files of a measurement: read back as written, and every other file refused in one way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.measure import SCHEMA
from builder.measuring import files
from builder.measuring.errors import MeasureError

TIME = {"mean": 1.0, "p50": 1.0, "p95": 1.0, "p99": 1.0, "min": 1.0, "max": 1.0}


def document() -> dict[str, Any]:
    """Return the least that a measurement holds."""
    run = {
        "load": {"kind": "closed", "concurrency": 1},
        "repeat": 0,
        "requests": 2,
        "errors": 0,
        "error_rate": 0.0,
        "requests_per_second": 1.0,
        "tokens_per_second": 9.0,
        "ttft_ms": dict(TIME),
        "itl_ms": None,
        "latency_ms": dict(TIME),
        "memory": {"cpu_mb": {}, "gpu_mb": {}},
    }
    words = dict.fromkeys(("name", "door", "url", "command", "date"), "x")
    return {"schema": SCHEMA, **words, "machine": {}, "settings": {}, "runs": [run]}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert files.write([("--output", path, json.dumps({**document(), "ended_early": "x"}))]) is None
    assert files.read(path).runs[0]["tokens_per_second"] == 9.0


def test_a_model_that_answers_once_has_no_figures_of_tokens(tmp_path: Path) -> None:
    found = document()
    for name in ("tokens_per_second", "ttft_ms", "itl_ms"):
        del found["runs"][0][name]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(found))
    assert files.read(path).runs[0]["requests_per_second"] == 1.0
    for name in ("requests_per_second", "latency_ms"):
        spoilt = json.loads(json.dumps(found))
        del spoilt["runs"][0][name]
        require_refused(path, json.dumps(spoilt))


def _text_figure(found: dict[str, Any]) -> None:
    found["runs"][0]["ttft_ms"]["p50"] = "fast"


def _text_repeat(found: dict[str, Any]) -> None:
    found["runs"][0]["repeat"] = "first"


@pytest.mark.parametrize(
    "spoil",
    [
        _text_figure,
        _text_repeat,
        lambda found: found["runs"][0].pop("itl_ms"),
        lambda found: found["runs"][0].pop("tokens_per_second"),
        lambda found: found.pop("schema"),
        lambda found: found.update(schema="other/1"),
        lambda found: found.pop("machine"),
        lambda found: found.update(runs="x"),
        lambda found: found.update(runs=5),
        lambda found: found.update(runs=[]),
        lambda found: found.update(settings=[]),
        lambda found: found["runs"][0].update(load={"kind": "open", "rate": "x"}),
        lambda found: found["runs"][0].update(memory={}),
        lambda found: found["runs"][0].update(tokens_per_second=float("nan")),
    ],
)
def test_a_spoilt_file_is_refused(tmp_path: Path, spoil: Callable[[dict[str, Any]], object]) -> None:
    found = document()
    spoil(found)
    require_refused(tmp_path / "a.json", json.dumps(found))


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", "5", "[" * 100_000])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    require_refused(tmp_path / "a.json", text)


def require_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(MeasureError) as refused:
        files.read(path)
    assert refused.value.found.startswith(f"{path} is no measurement of `builder measure`: ")
    assert refused.value.expected
    assert refused.value.remedy


def test_a_place_that_is_tried_is_left_as_it_was(tmp_path: Path) -> None:
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    old.write_text("kept")
    for path in (new, old):
        files.require_creatable("--output", path)
    assert not new.exists()
    assert old.read_text() == "kept"
