"""A virtual environment made from a pinned list, so that a script runs wherever PyPI is."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path


def ensure(folder: Path, requirements: Path) -> Path:
    """Return the interpreter of an environment that holds the requirements; made when it is not there.

    torch comes from BUILDER_TORCH_INDEX when that is set, as in scripts/setup.
    """
    python = folder / "bin" / "python"
    mark = folder / "installed"
    constraints = requirements.parents[1] / "scripts" / "constraints.txt"
    stamp = hashlib.sha256(requirements.read_bytes() + constraints.read_bytes()).hexdigest()
    if mark.is_file() and mark.read_text() == stamp:
        return python
    print(f"making {folder} from {requirements.name}, once", file=sys.stderr)
    if not python.is_file():
        venv.create(folder, with_pip=True, symlinks=True)
    (folder / ".gitignore").write_text("*\n")
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if index := os.environ.get("BUILDER_TORCH_INDEX"):
        command += ["--extra-index-url", index]
    subprocess.run([*command, "--requirement", str(requirements)], check=True, stdout=sys.stderr)
    mark.write_text(stamp)
    return python


def versions(python: Path, packages: list[str]) -> dict[str, str]:
    """Return the versions of installed packages in another interpreter."""
    code = (
        "import importlib.metadata as m, json, sys\n"
        "print(json.dumps({p: m.version(p) for p in sys.argv[1:]}))"
    )
    done = subprocess.run([str(python), "-c", code, *packages], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found
