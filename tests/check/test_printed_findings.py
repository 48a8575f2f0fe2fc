"""What `builder check` prints of names that others chose, and from where its paths lead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from workbench import examples, mutations

from builder.check import check
from builder.cli import main
from builder.printing import plain

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = (
    "x\n::error::pwned",
    "::error::y",
    "r\r::error::pwned",
    "e\x1b[31mred",
    "a,b:c%d",
    "z##[error]pwned",
)
BAD = "max_batch_size: 8\ndynamic_batching {\n  preferred_batch_size: [ 16 ]\n}"


def run(*words: str, **environment: str) -> str:
    result = CliRunner(env=environment).invoke(main, ["check", *words])
    assert result.exit_code in (0, 1), result.output
    return result.stdout


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    for name in HOSTILE:
        (tmp_path / name).mkdir()
    return tmp_path


def test_no_name_gives_github_a_command_of_its_own(hostile: Path) -> None:
    lines = run(str(hostile), "--github").split("\n")[:-1]
    assert len(lines) == len(HOSTILE)
    assert all(line.startswith(f"::error file={hostile}/") for line in lines)
    assert all(line.partition("::Triton")[0].count(",") == 1 for line in lines)
    assert f"::error file={hostile}/a%2Cb%3Ac%25d,title=TRN011 stray-folder::" in "\n".join(lines)
    assert f"::error file={hostile}/x%0A%3A%3Aerror%3A%3Apwned,title=" in "\n".join(lines)


@pytest.mark.parametrize("words", [(), ("--github",), ("--graph",)])
def test_no_name_steers_the_terminal(hostile: Path, words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, ["check", str(hostile), *words])
    assert [one for one in result.output if not one.isprintable() and one != "\n"] == []


def test_plain_lines_are_no_commands_of_github(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(hostile)
    lines = run(".").splitlines()
    assert len(lines) == 3 * len(HOSTILE) + 1
    assert [line for line in lines if line.lstrip().startswith("::") or "##[" in line] == []
    assert "x\\n::error::pwned: error TRN011 stray-folder" in lines
    assert "\\x3a:error::y: error TRN011 stray-folder" in lines


def test_a_drawing_cannot_be_left_by_a_name(tmp_path: Path) -> None:
    text = mutations.SEEDS[2].replace("first_Y", 'a\\"]\\n```\\n<b>')
    examples.write(text, tmp_path)
    drawn = run(str(tmp_path), "--mermaid")
    assert drawn.count("```") == 2
    assert 's0 -- "a#quot;]\\n#96;#96;#96;\\n#lt;b#gt;: FP32[4]" --> s1' in drawn
    assert 'a"]\\n```\\n<b>: FP32[4]' in run(str(tmp_path), "--graph")


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
@pytest.mark.parametrize("words", [(), ("--json",), ("--github",)])
def test_a_name_that_is_no_unicode(tmp_path: Path, words: tuple[str, ...], locale: str) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/a\xff")  # noqa: PTH102
    done = subprocess.run(
        [sys.executable, "-m", "builder", "check", str(tmp_path), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": locale, "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"")
    said = done.stdout.decode("utf-8")
    if "--json" in words:
        assert json.loads(done.stdout)[0]["model"] == "a\ufffd"
    else:
        assert "TRN011" in said


def test_json_is_utf_8_whatever_the_terminal_is(tmp_path: Path) -> None:
    (tmp_path / "größe").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "builder", "check", str(tmp_path), "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )
    assert json.loads(done.stdout)[0]["model"] == "größe"


def test_colour_only_where_it_is_wanted(tmp_path: Path) -> None:
    examples.write(BAD, tmp_path)
    runner = CliRunner()
    coloured = runner.invoke(main, ["check", str(tmp_path)], color=True, env={"NO_COLOR": None})
    assert "\x1b[31m" in coloured.stdout
    bare = runner.invoke(main, ["check", str(tmp_path)], color=True, env={"NO_COLOR": "1"})
    assert "\x1b" not in bare.stdout


def test_paths_lead_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("model_repository", "one", "two"):
        examples.write(BAD, Path(folder))
    Path("two", "m").rename(Path("two", "other"))
    assert run().startswith("model_repository/m/config.pbtxt:3:27: error TRN202 ")
    both = run("./one", "two/")
    assert "one/m/config.pbtxt:3:27: error TRN202 " in both
    assert "two/other/config.pbtxt:3:27: error TRN202 " in both
    (finding,) = check(Path("one"))
    assert (finding.where, finding.file) == ("m/config.pbtxt:3:27", "one/m/config.pbtxt")


def test_of_two_folders_the_one_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    examples.write("max_batch_size: 8", Path("one"))
    assert run("one", "gone", "away").splitlines()[:6] == [
        "gone: fatal TRN001 repository-unreadable",
        "  gone does not exist",
        "  -> name a folder that holds one folder for each model",
        "away: fatal TRN001 repository-unreadable",
        "  away does not exist",
        "  -> name a folder that holds one folder for each model",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain größe 😀", "plain größe 😀"),
        ("a\tb\nc", "a\\tb\\nc"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("std::stoll", "std::stoll"),
        ("  ::stop-commands::x", "  \\x3a:stop-commands::x"),
        ("a##[error]b", "a\\x23#[error]b"),
    ],
)
def test_a_line_of_others(text: str, shown: str) -> None:
    assert plain.line(text) == shown
