"""A checkpoint that an engine reads as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from builder.exporting import checkpoint


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    tiny.checkpoint(folder)
    (folder / "generation_config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    return folder


def test_weights_are_linked_and_what_people_edit_is_copied(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    checkpoint.lay(source, out)
    assert {file.name for file in out.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
    }
    assert (out / "model.safetensors").samefile(source / "model.safetensors")
    (out / "config.json").write_text("edited")
    assert (source / "config.json").read_text() != "edited"


def test_no_safetensors_is_an_error(source: Path, tmp_path: Path) -> None:
    (source / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no weights in \.safetensors files"):
        checkpoint.lay(source, tmp_path / "out")
