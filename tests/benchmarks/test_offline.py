"""Wheels in parts: cut, carried, joined, installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import offline
import pytest


@pytest.fixture
def wheels(tmp_path: Path) -> list[Path]:
    """Return two wheels."""
    return [_wheel(tmp_path / "downloaded", "first", "1.0"), _wheel(tmp_path / "downloaded", "second", "2.0")]


def _wheel(folder: Path, name: str, version: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def _carried(parts: Sequence[Path], to: Path) -> Path:
    """Copy the files of parts into one folder, as small transfers do."""
    to.mkdir()
    for part in parts:
        for file in part.iterdir():
            (to / file.name).write_bytes(file.read_bytes())
    return to


def test_parts_are_small_and_join_to_what_was_cut(tmp_path: Path, wheels: list[Path]) -> None:
    parts = offline.cut(wheels, tmp_path / "packed", limit=1000)
    assert len(parts) > 2
    assert max(file.stat().st_size for part in parts for file in part.iterdir()) <= 1000
    for number, folder in enumerate((tmp_path / "packed", _carried(parts, tmp_path / "carried"))):
        into = tmp_path / f"joined-{number}"
        into.mkdir()
        found = offline.join(folder, into)
        assert [wheel.read_bytes() for wheel in found] == [wheel.read_bytes() for wheel in wheels]


def test_a_missing_or_foreign_part_is_told_before_anything_is_installed(
    tmp_path: Path, wheels: list[Path]
) -> None:
    parts = offline.cut(wheels, tmp_path / "packed", limit=1000)
    carried = _carried(parts, tmp_path / "carried")
    damaged = carried / "wheels.tar.01"
    damaged.write_bytes(bytes(len(damaged.read_bytes())))
    with pytest.raises(SystemExit, match="are damaged, or of different runs"):
        offline.join(carried, tmp_path)
    damaged.unlink()
    with pytest.raises(SystemExit, match=r"lacks wheels\.tar\.01 of \d+ pieces"):
        offline.join(carried, tmp_path)
    with pytest.raises(SystemExit, match=r"holds no wheels\.json"):
        offline.join(tmp_path / "downloaded", tmp_path)
    with pytest.raises(SystemExit, match="is there already"):
        offline.cut(wheels, tmp_path / "packed", limit=1000)


def test_the_wheels_go_before_the_machine_s_own_packages(tmp_path: Path, wheels: list[Path]) -> None:
    """And what they lack is found there: the environment of this Python has pytest."""
    venv = tmp_path / "venv"
    offline.install(wheels, venv)
    # again, with another version of one
    offline.install([_wheel(tmp_path / "newer", "first", "1.1")], venv)
    code = "import first, second, pytest; print(first.VERSION, second.VERSION)"
    done = subprocess.run([venv / "bin" / "python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1.1", "2.0"]
    assert offline.site_of(venv).parent.name == f"python{sys.version_info.major}.{sys.version_info.minor}"
