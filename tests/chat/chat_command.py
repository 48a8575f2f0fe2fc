"""`builder chat` as a command line, and the environment it runs in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "builder", "chat"]


def environment(**more: str) -> dict[str, str]:
    """Return this environment with the program's folder in it, and more variables."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}
