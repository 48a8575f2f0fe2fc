"""What was rendered, read back as data, and the programs that judge it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def tool(name: str) -> str:
    """Return a program of the extra `test`; skip, saying so, where it is not installed."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f'{name} is not installed: pip install "builder[test]"')
    return found


def run(*words: str, **arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run a program and return its outcome with all that it said."""
    merged = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(words, check=False, **merged, **arguments)


def service(text: str, name: str = "triton") -> dict[str, Any]:
    """Return a service of a compose file."""
    found: dict[str, Any] = yaml.safe_load(text)["services"][name]
    return found


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Return (instruction, arguments) of a Dockerfile; comments are left out and lines joined."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def runs(dockerfile: str) -> list[str]:
    """Return the shell lines of a Dockerfile's RUN instructions."""
    return [arguments for name, arguments in instructions(dockerfile) if name == "RUN"]


def shell_line(container: dict[str, Any]) -> str:
    """Return a health check as the container's shell gets it."""
    kind, line = container["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    return str(line).replace("$$", "$")
