"""The wheel: light, without generic names in site-packages, and complete enough to plan."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_wheel_holds_what_runs_inside_triton_under_one_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"builder"}
    for wanted in (
        "builder/backends/front/model.py",
        "builder/ensembles/text_generation.py",
        "builder/docker/Dockerfile",
        "builder/docker/gateway.txt",
        "builder/gateway/page/files/index.html",
        "builder/gateway/page/files/vendor/marked.LICENSE.md",
        "builder/recipes/smollm2.toml",
        "builder/data/gpus.toml",
    ):
        assert wanted in names


def test_core_dependencies_are_light(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    metadata = archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()
    needed = [
        line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line
    ]
    assert needed
    for heavy in ("torch", "transformers", "onnx", "pytriton"):
        assert not [line for line in needed if heavy in line]


@pytest.mark.slow
def test_core_installs_and_plans_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [
        str(python),
        "-m",
        "pip",
        "install",
        "-q",
        "-c",
        str(ROOT / "scripts" / "constraints.txt"),
        str(wheel),
    ]
    subprocess.run(install, check=True)
    listed = subprocess.run(
        [str(python), "-m", "pip", "list"], check=True, capture_output=True, text=True
    ).stdout
    assert "torch" not in listed
    builder = [str(tmp_path / "venv" / "bin" / "builder"), "plan", "llama-8b", "--gpu"]
    planned = subprocess.run([*builder, "h200"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert planned.returncode == 0
    assert "131,072 B" in planned.stdout
    refused = subprocess.run(
        [*builder, "a10", "--tp", "3"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "--tp 3 does not divide the 32 attention heads" in refused.stderr
    assert "--gpu a10 --tp 4" in refused.stderr
