"""A short soak of a real deployment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.triton
@pytest.mark.slow
def test_two_hundred_chats_leave_nothing_behind(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime_genai")
    output = tmp_path / "soak.json"
    options = ["--chats", "200", "--concurrency", "16", "--tokens", "16", "--output", str(output)]
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert output.is_file(), done.stderr
    figures = json.loads(output.read_text())["figures"]
    assert figures["chats"] == 200
    # two hundred chats are too few to tell a leak from a warm-up: what counts is that all ended well
    for name in ("errors", "wrong_lengths", "active_at_end", "waiting_at_end", "cancelled_uncounted"):
        assert figures[name] == 0, done.stdout
    assert figures["cancelled"] > 0
    assert figures["shared_memory_growth_mb"] <= 1, done.stdout
