"""A conversion that is killed anywhere goes on where it was, and ends as if nothing had been."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import killed_conversions
import pytest
import tiny_decoders

from builder.errors import UsageError
from builder.ranks.convert import convert


def source(folder: Path, family: str = "llama") -> Path:
    told = tiny_decoders.config(family, num_local_experts=2, num_experts_per_tok=1)
    return tiny_decoders.write(folder / "source", told, tiny_decoders.weights(told), shards=2)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run(folder: Path, out: str, *words: str) -> list[dict[str, Any]]:
    program = [sys.executable, killed_conversions.__file__, str(folder / "source"), str(folder / out), *words]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def is_killed_again_and_again(folder: Path, seed: int, kills: int, *words: str) -> None:
    """Convert in full, then with kills at random lines, until one is let go on to its end."""
    (whole,) = run(folder, "expected", "0")
    drawn = random.Random(seed)
    places = [str(drawn.randint(1, whole["lines"])) for _ in range(kills)]
    *_, last = run(folder, "out", *words, *places, "0")
    assert last["whole"]
    if last["killed"]:
        # in the last moment: whoever comes next finds ranks, and tidies up
        with pytest.raises(UsageError, match="not empty"):
            convert(folder / "source", folder / "out", killed_conversions.ASKED)
    assert contents(folder / "out") == contents(folder / "expected")
    assert sorted(path.name for path in folder.iterdir()) == ["expected", "out", "source"]


@pytest.mark.parametrize("words", [(), ("--power",)])
def test_killed_again_and_again_it_ends_as_if_nothing_had_been(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    source(tmp_path)
    is_killed_again_and_again(tmp_path, 0, 8, *words)
