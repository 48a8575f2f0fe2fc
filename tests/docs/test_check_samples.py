"""What docs/check.md shows of `builder check` is what it prints."""

from __future__ import annotations

from pathlib import Path

import doc_pages
import pytest
from click.testing import CliRunner
from doc_pages import ROOT, Block

from builder.cli import main

PAGE = ROOT / "docs" / "check.md"
TYPED = "$ builder check models\n"


def block(language: str, beginning: str = "") -> Block:
    """Return the page's only block of a language that begins so."""
    (found,) = (
        one for one in doc_pages.blocks(PAGE) if one.language == language and one.text.startswith(beginning)
    )
    return found


def test_the_sample_of_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = tmp_path / "models" / "classifier" / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(block("protobuf").text)
    (version / "model.py").write_text("class TritonPythonModel:\n    def execute(self, requests): ...\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["check", "models"])
    assert (done.exit_code, done.stdout) == (1, block("text", TYPED).text.removeprefix(TYPED))


def test_the_sample_of_a_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (command,) = (one for one in doc_pages.commands(PAGE) if one.line == "builder check --graph")
    drawn = CliRunner().invoke(main, ["check", "--graph"]).stdout
    # the weights may not be there, which its findings tell
    assert doc_pages.missing(command, f"{drawn}no findings\n") == []


def test_the_samples_of_comments_name_rules() -> None:
    from builder.check import rules

    known = [one.code for one in rules()]
    said = block("text", "# check: ignore").text.replace("# check: ignore", "").replace(",", " ")
    named = [word.removesuffix(":") for word in said.split() if word.startswith("TRN")]
    assert len(named) == 3
    assert all(any(code.startswith(name) for code in known) for name in named)
