"""The whole way: three variants of a tiny model built, proven, served by a real Triton, and measured."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_speaker

NEEDED = ("torch", "transformers", "onnxruntime_genai", "cyllama", "gguf")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.triton,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]
First = tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]
VARIANTS = ["onnx/fp32", "llamacpp/q8_0", "onnx/int8"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with a checkpoint and a cache of its own."""
    folder = tmp_path_factory.mktemp("compare")
    tiny_speaker.checkpoint(folder / "checkpoint")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUILDER_CACHE", str(folder / "cache"))
        yield folder


def compared(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "builder", "compare", "tiny", "--checkpoint", "checkpoint"]
    return subprocess.run([*command, *words], cwd=place, capture_output=True, text=True, check=False)


def record(place: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((place / "compare" / "tiny" / "comparison.json").read_text())[
        "rows"
    ]
    return rows


@pytest.fixture(scope="module")
def first(place: Path) -> First:
    """The first comparison: what it printed, and what it wrote."""
    done = compared(
        place, "--quantize", "fp32,int8,q8_0", "--target", "onnx,llamacpp", "--load", "1,2",
        "--output-tokens", "16",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done, record(place)


def test_every_variant_is_served_and_measured(place: Path, first: First) -> None:
    done, every = first
    rows = {row["variant"]: row for row in every}
    assert rows.keys() == {*VARIANTS, "llamacpp/fp32"}
    for name, row in rows.items():
        assert row["verified"]["failed"] == 0 and row["verified"]["passed"] > 50, name
        assert [run["load"]["concurrency"] for run in row["runs"]] == [1, 2], name
        assert all(run["tokens_per_second"] > 0 and not run["errors"] for run in row["runs"]), name
        assert row["runs"][-1]["memory"]["cpu_mb"]["pss"] > row["size"] / 1e6, name
        assert row["twice"]["agree"], name
        assert name in done.stdout
    sizes = [rows[name]["size"] for name in VARIANTS]
    assert sizes[0] > 3 * sizes[1] and sizes[0] > 2 * sizes[2]
    assert rows["onnx/fp32"]["loss"]["divergence"] < rows["llamacpp/q8_0"]["loss"]["divergence"]
    (page,) = (place / "compare" / "tiny").glob("*.html")
    assert page.read_text().count("<svg") == 5


def test_the_same_again_asks_nothing_again(place: Path, first: First) -> None:
    _, before = first
    again = compared(
        place, "--quantize", "int8", "--target", "onnx", "--load", "1,2", "--output-tokens", "16"
    )
    assert again.returncode == 0, again.stderr
    assert record(place) == [row for row in before if row["variant"] == "onnx/int8"]


def test_one_that_loses_too_much_is_a_row_beside_the_others(place: Path, first: First) -> None:
    """What float32 may lose is far less than 8 bits do: one is served, the other is not."""
    apart = next(row["loss"]["divergence"] for row in first[1] if row["variant"] == "onnx/int8")
    told = compared(
        place, "--quantize", "fp32,int8", "--target", "onnx", "--once", "--output-tokens", "16",
        "--max-divergence", str(apart / 2),
    )  # fmt: skip
    assert told.returncode == 1
    assert "1 not served: tiny as onnx/int8" in told.stderr
    rows = {row["variant"]: row for row in record(place)}
    assert "on held-out texts mean divergence" in rows["onnx/int8"]["failure"]
    assert rows["onnx/int8"]["loss"]["divergence"] == apart
    assert not rows["onnx/fp32"]["failure"] and rows["onnx/fp32"]["runs"]
