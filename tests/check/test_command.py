"""`builder check` as it is typed: what it prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from workbench import examples, mutations

from builder.cli import main

BAD = "max_batch_size: 8\ndynamic_batching {\n  preferred_batch_size: [ 16 ]\n}"


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    examples.write(BAD, tmp_path)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["check", *words])


def test_a_finding_for_people(bad: Path) -> None:
    found = run(str(bad))
    assert found.exit_code == 1
    assert found.stdout == (
        f"{bad}/m/config.pbtxt:3:27: error TRN202 preferred-batch-size-fits\n"
        "  dynamic batching preferred size must be <= max batch size for m: 16 is more than 8\n"
        "  -> remove 16, or raise max_batch_size to 16\n"
        "1 error\n"
    )


def test_a_finding_for_programs(bad: Path) -> None:
    (found,) = json.loads(run(str(bad), "--json").stdout)
    assert found == {
        "code": "TRN202",
        "rule": "preferred-batch-size-fits",
        "severity": "error",
        "repository": str(bad),
        "path": "m/config.pbtxt",
        "line": 3,
        "column": 27,
        "message": "dynamic batching preferred size must be <= max batch size for m: 16 is more than 8",
        "remedy": "remove 16, or raise max_batch_size to 16",
        "model": "m",
    }


def test_a_finding_for_github(bad: Path) -> None:
    found = run(str(bad), "--github")
    assert (found.exit_code, found.stdout) == (
        1,
        f"::error file={bad}/m/config.pbtxt,line=3,col=27,title=TRN202 preferred-batch-size-fits::dynamic "
        "batching preferred size must be <= max batch size for m: 16 is more than 8%0Aremove 16, or raise "
        "max_batch_size to 16\n",
    )


def test_warnings_alone_are_no_failure(tmp_path: Path) -> None:
    examples.write("instance_group { kind: KIND_CPU count: -1 }", tmp_path)
    found = run(str(tmp_path))
    assert found.exit_code == 0
    assert found.stdout.endswith("\n1 warning\n")


def test_rules_left_out(bad: Path) -> None:
    for words in (("--ignore", "TRN2"), ("--select", "TRN3,TRN4"), ("--ignore", "TRN1,TRN202")):
        assert (run(str(bad), *words).exit_code, run(str(bad), *words).stdout) == (0, "no findings\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--triton", "24.09"), "24.09 is no release from 24.10 to 26.09"),
        (("--triton", "latest"), "latest is no release"),
        (("--triton", "25.13"), "25.13 is no release"),
        (("--select", "D100"), "'D100' is the beginning of no rule's code"),
        (("--ignore", ""), "'' is the beginning of no rule's code"),
        (("--gpus", "-1"), "-1"),
        (("",), "is empty; leave it out or name a folder"),
        (("--ignore", "TRN"), "leave no rule to check"),
        (("--select", "TRN2", "--ignore", "TRN2"), "leave no rule to check"),
        (("--json", "--github"), "--json and --github do not go together: drop one of them"),
        (("--json", "--graph"), "--json and --graph do not go together"),
        (("--json", "--mermaid"), "--json and --mermaid do not go together"),
        (("--graph", "--mermaid"), "--graph and --mermaid do not go together"),
    ],
)
def test_options_that_mean_nothing(bad: Path, words: tuple[str, ...], complaint: str) -> None:
    found = run(str(bad), *words)
    assert found.exit_code == 2
    assert complaint in found.output


def test_an_ensemble_drawn_as_a_tree(tmp_path: Path) -> None:
    examples.write(mutations.SEEDS[2], tmp_path)
    found = run(str(tmp_path), "--graph")
    assert (found.exit_code, found.stderr, found.stdout) == (
        0,
        "no findings\n",
        "m (ensemble, max_batch_size 4)\n"
        "|-- input  X: FP32[4]\n"
        "|-- step   first\n"
        "|     X <- X: FP32[4]\n"
        "|     Y -> first_Y: FP32[4]\n"
        "|-- step   second\n"
        "|     X <- first_Y: FP32[4]\n"
        "|     Y -> Y: FP32[4]\n"
        "|-- output Y: FP32[4]\n"
        "`-- output first_Y: FP32[4]\n",
    )


def test_an_ensemble_drawn_as_a_flowchart(tmp_path: Path) -> None:
    examples.write(mutations.SEEDS[2], tmp_path)
    found = run(str(tmp_path), "--mermaid")
    text = found.stdout
    assert text.startswith('## m\n\n```mermaid\nflowchart LR\n  s0["first"]\n  s1["second"]\n  i0(["X"])\n')
    assert text.endswith("\n```\n")
    assert found.stderr == "no findings\n"
    for edge in ('i0 -- "X: FP32[4]" --> s0', 's0 -- "first_Y: FP32[4]" --> s1', "s0 -- ", " --> o1"):
        assert edge in text


def test_what_is_not_connected_is_said_in_the_drawing(tmp_path: Path) -> None:
    broken = mutations.SEEDS[2].replace('key: "X" value: "first_Y"', 'key: "X" value: "nowhere"')
    examples.write(broken, tmp_path)
    found = run(str(tmp_path), "--graph")
    assert found.exit_code == 1
    assert "X <- nowhere: FP32[4] (not written)" in found.stdout
