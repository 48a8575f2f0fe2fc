"""A config that names no backend, where the file decides for one that the server lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.check import check
from builder.rule import Host


@pytest.mark.parametrize(
    ("file", "config", "refused"),
    [
        ("model.plan", "", True),
        ("model.pt", "", True),
        ("model.py", "", False),
        ("model.plan", 'backend: "python"', False),
    ],
)
def test_the_file_decides_where_no_backend_is_named(
    file: str, config: str, refused: bool, tmp_path: Path
) -> None:
    version = tmp_path / "m" / "1"
    version.mkdir(parents=True)
    (version / file).write_bytes(b"x")
    (tmp_path / "m" / "config.pbtxt").write_text(config)
    found = {finding.code for finding in check(tmp_path, host=Host(backends=frozenset({"python"})))}
    assert ("TRN411" in found) is refused
