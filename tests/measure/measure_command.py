"""`builder measure` as users run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def builder(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `builder measure` as a user does."""
    return subprocess.run(
        command(*words), cwd=ROOT, capture_output=True, text=True, check=False, timeout=300, env=environment
    )


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "builder", "measure", *words]


def measured(*words: str) -> dict[str, Any]:
    """Return the JSON of a measurement that went well."""
    done = builder(*words, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
