"""The Dockerfile's own pip commands in an empty environment, and what the models import there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rendered import run, runs

from builder import deploy, layout
from builder.deploying import packages
from builder.deployment import Options, deployment

pytestmark = pytest.mark.slow


def interpreter() -> str:
    """Return the container's Python 3.12 where there is one, else this one."""
    try:
        found = subprocess.run(["python3.12", "--version"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        found = False
    return "python3.12" if found else sys.executable


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment as the container's: pip and numpy, which Triton's Python backend brings."""
    home = tmp_path / "python"
    assert run(interpreter(), "-m", "venv", str(home)).returncode == 0
    done = run(str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "numpy")
    assert done.returncode == 0, done.stdout
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}


def install(dockerfile: str, environment: dict[str, str]) -> set[str]:
    """Run the RUN lines and return what is installed beyond pip and numpy, as name==version."""
    for line in runs(dockerfile):
        done = run("sh", "-c", line, env=environment)
        assert done.returncode == 0, done.stdout
    frozen = run("python3", "-m", "pip", "freeze", env=environment).stdout
    names = re.findall(r"^([\w.-]+)==(\S+)$", frozen, re.MULTILINE)
    return {f"{packages.normalised(name)}=={version}" for name, version in names} - {
        f"numpy=={version}" for name, version in names if name == "numpy"
    }


def test_default_image_imports_what_its_models_import(default: Path, environment: dict[str, str]) -> None:
    found = deployment(default, Options())
    dockerfile = deploy.compose(found, default.parent / "docker")["Dockerfile"]
    assert install(dockerfile, environment) == set(found.packages)
    modules = sorted(packages.imports(layout.read(default)))
    assert {"jinja2", "tokenizers"} < set(modules)
    done = run("python3", "-c", "\n".join(f"import {module}" for module in modules), env=environment)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", packages.known())
def test_image_with_each_module(
    module: str, handmade: Callable[..., Path], environment: dict[str, str], tmp_path: Path
) -> None:
    found = deployment(handmade(code=f"import {module}"), Options())
    assert install(deploy.compose(found, tmp_path)["Dockerfile"], environment) == set(found.packages)
    done = run("python3", "-c", f"import {module}", env=environment)
    assert done.returncode == 0, done.stdout
