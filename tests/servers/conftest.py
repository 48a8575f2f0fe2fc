"""What a server may leave behind, and repositories that a test may own."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def processes_naming(text: str) -> list[str]:
    """Return the command lines of all processes that mention `text`: tritonserver's and its stubs' do."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if text in line and ("tritonserver" in line or "backend_stub" in line):
                found.append(line)
    return found


def regions_of(log: str) -> list[Path]:
    """Return the shared memory regions of the server that wrote this log."""
    prefixes = set(re.findall(r'shm-region-prefix-name":"([^"]+)"', log))
    return [region for prefix in prefixes for region in Path("/dev/shm").glob(f"{prefix}*")]


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., Path]:
    """Copy models of `good/` into a repository of the test's own."""

    def make(*models: str) -> Path:
        folder = tmp_path / "repository"
        for model in models:
            shutil.copytree(
                HERE / "good" / model, folder / model, ignore=shutil.ignore_patterns("__pycache__")
            )
        return folder

    return make


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the path for Triton's log; afterwards no process, region or temporary file may be left."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    log = tmp_path / "triton.log"
    yield log
    assert processes_naming(str(tmp_path)) == []
    assert list(temporary.iterdir()) == []
    if log.exists():
        assert regions_of(log.read_text()) == []
