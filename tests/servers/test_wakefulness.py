"""Processors that stay awake while a server runs: by Linux's own device, or an error where none may."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner

from builder.cli import main
from builder.errors import ServeError
from builder.serving import wakefulness

MAY = os.access(wakefulness.DEVICE, os.R_OK | os.W_OK)


def microseconds(device: Path) -> int:
    """Return what the device holds: Linux tells the least that anybody asks for."""
    with device.open("rb", buffering=0) as held:
        (found,) = struct.unpack("=i", held.read(4))
    return int(found)


@pytest.mark.skipif(not MAY, reason=f"this user may not use {wakefulness.DEVICE}")
def test_no_sleep_is_allowed_until_the_block_ends() -> None:
    before = microseconds(wakefulness.DEVICE)
    with pytest.raises(KeyError), wakefulness.awake():
        assert microseconds(wakefulness.DEVICE) == 0
        raise KeyError
    assert microseconds(wakefulness.DEVICE) == before


def test_what_is_asked_for_is_no_microsecond(tmp_path: Path) -> None:
    device = tmp_path / "latency"
    with wakefulness.awake(device):
        assert microseconds(device) == 0


def test_where_there_is_no_device_the_error_says_what_to_do(tmp_path: Path) -> None:
    device = tmp_path / "nowhere" / "latency"
    with pytest.raises(ServeError, match="No such file") as caught, wakefulness.awake(device):
        pass
    assert f"--device {device}" in str(caught.value.remedy)


def test_processors_elsewhere_are_not_ours(tmp_path: Path) -> None:
    line = ["serve", str(tmp_path), "--using", "remote", "--url", "http://127.0.0.1:1", "--low-latency"]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 2
    assert "--using remote serves on another" in result.output
