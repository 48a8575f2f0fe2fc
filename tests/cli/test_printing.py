"""Sizes, tables and the progress bar."""

import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny import Workshop

from builder.errors import UsageError
from builder.printing import outcomes, tables
from builder.verifying import addresses


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        ((1 << 20) - 1, "1048575 B"),
        (1 << 20, "1.0 MiB"),
        (80 << 20, "80.0 MiB"),
        (1 << 30, "1.00 GiB"),
        (16_060_522_496, "14.96 GiB"),
    ],
)
def test_sizes(count, text):
    assert tables.size(count) == text


def test_cells_are_printed_as_they_are(capsys):
    tables.show("A title", ("one", "two"), [("[bold]x[/bold]", "[1,2]"), ("é漢", "")])
    out = capsys.readouterr().out
    assert "[bold]x[/bold]" in out and "[1,2]" in out and "é漢" in out and "A title" in out
    assert "\x1b" not in out


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=1, max_size=40))
@example("[red]")
@example("\\")
@example("x\\[b]")
@example(":smile:")
def test_no_cell_is_taken_for_markup(capsys, text):
    tables.show("", ("one",), [(text,)])
    assert text in capsys.readouterr().out


BAR = """
from builder.printing.progress import Progress
with Progress() as progress:
    progress("first thing", 0.5)
    progress("second thing", 0.1)
    progress("second thing, going on", 0.6)
    progress("second thing", 1.0)
"""


def test_progress_is_silent_without_a_terminal():
    done = subprocess.run([sys.executable, "-c", BAR], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_progress_on_a_terminal():
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-c", BAR], stderr=theirs, stdout=subprocess.PIPE, env=environment, check=True
    )
    os.close(theirs)
    seen = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.stdout == b""
    # what follows a comma is said of the same stage, and stays
    last = seen[seen.rindex("first thing") :]
    assert last.count("thing") == 2 and "second thing, going on" in last


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("http://host:8000", None, None), ("host:8000", "host:8001", "host:8002")),
        (("host:9000", None, None), ("host:9000", "host:9001", "host:9002")),
        (("http://host:9000/", "grpc://other:1", "x:2"), ("host:9000", "other:1", "x:2")),
        (("http://[::1]:8000", None, None), ("[::1]:8000", "[::1]:8001", "[::1]:8002")),
    ],
)
def test_addresses(given, expected):
    assert addresses(*given) == expected


@pytest.mark.parametrize(
    "url", ["host", "http://host", "http://host:many", "http://:8000", "http://host:99999", "//"]
)
def test_addresses_that_are_none(url):
    with pytest.raises(UsageError, match="http://HOST:PORT"):
        addresses(url, None, None)


def test_a_command_to_copy_is_one_for_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a user's models"
    outcomes.show(Workshop(tmp_path, monkeypatch).build(output))
    told = capsys.readouterr().out.splitlines()[-1]
    assert shlex.split(told.removeprefix("serve it: ")) == ["builder", "serve", str(output)]


def test_a_contract_s_own_name_is_told_beside_the_model_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built = Workshop(tmp_path, monkeypatch).build(tmp_path / "models")
    outcomes.show(built)
    assert capsys.readouterr().out.startswith("Proven of tiny (onnx ")
    published = dataclasses.replace(built.published, name="ensemble")
    outcomes.show(dataclasses.replace(built, published=published))
    assert capsys.readouterr().out.startswith("Proven of tiny, served as ensemble (onnx ")
