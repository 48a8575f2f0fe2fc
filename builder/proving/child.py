"""A part of a proof in a process of its own: `python -m builder.proving.PART REQUEST.json`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from builder import child, files
from builder.errors import ProofError

_QUIET = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}


def run(part: str, asked: dict[str, Any], request: Path, log: Path, watch: Callable[[str], None]) -> None:
    """Write what is asked to `request` and wait; raise ProofError with the end of its log where it fails."""
    files.write_json(request, asked)
    command = [sys.executable, "-m", f"builder.proving.{part}", str(request)]
    child.run(command, log, ProofError, watch=watch, environment=_QUIET)
