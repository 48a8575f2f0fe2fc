"""Folders that are no models or no repositories, and the comments that leave rules out."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from workbench import examples

from builder.check import check
from builder.cli import main
from builder.deployment import Options, deployment
from builder.errors import RepositoryError
from builder.finding import Finding

CACHED = "max_batch_size: 8\ndynamic_batching { preferred_batch_size: [ 16, 32 ] }\n"


def told(*repositories: Path) -> list[tuple[str, str, str]]:
    return [(one.code, one.path, one.remedy) for one in check(*repositories)]


def test_a_models_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples.write(CACHED, tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    assert told(Path("models/m")) == [("TRN012", ".", "name the folder that holds it: models")]
    (finding,) = check(Path("models/m"))
    assert (finding.severity, finding.repository) == ("fatal", "models/m")
    monkeypatch.chdir(tmp_path / "models")
    assert told(Path("m")) == [("TRN012", ".", "name the folder that holds it: .")]
    monkeypatch.chdir(tmp_path / "models" / "m")
    assert told(Path()) == [("TRN012", ".", "name the folder that holds it: ..")]


def test_a_models_own_folder_beside_a_repository(tmp_path: Path) -> None:
    examples.write("max_batch_size: 8", tmp_path / "one")
    examples.write("max_batch_size: 8", tmp_path / "two")
    (finding,) = check(tmp_path / "one", tmp_path / "two" / "m")
    assert (finding.code, finding.repository) == ("TRN012", str(tmp_path / "two" / "m"))


def test_a_repository_with_a_config_beside_its_models_is_one(tmp_path: Path) -> None:
    examples.write("max_batch_size: 8", tmp_path)
    (tmp_path / "config.pbtxt").write_text("max_batch_size: 8")
    assert told(tmp_path) == []


@pytest.mark.parametrize(
    ("made", "remedy"),
    [
        (".git/hooks", "let Triton serve a folder inside the clone: .git belongs at the top of it"),
        (".ipynb_checkpoints", "remove .ipynb_checkpoints"),
        (".cache/a", "move .cache out of the repository"),
        ("notes", "move notes out of the repository"),
    ],
)
def test_a_folder_at_the_top_that_is_no_model(tmp_path: Path, made: str, remedy: str) -> None:
    examples.write("max_batch_size: 8", tmp_path)
    (tmp_path / made).mkdir(parents=True)
    assert told(tmp_path) == [("TRN011", made.split("/")[0], remedy)]


def test_a_hidden_model_is_a_model(tmp_path: Path) -> None:
    examples.write("max_batch_size: 8", tmp_path)
    (tmp_path / "m").rename(tmp_path / ".hidden")
    assert told(tmp_path) == []


def test_deploy_refuses_what_keeps_the_server_from_starting(tmp_path: Path) -> None:
    examples.write("max_batch_size: 8", tmp_path)
    (tmp_path / ".git").mkdir()
    with pytest.raises(RepositoryError, match=r"\.git: "):
        deployment(tmp_path, Options())


def test_serve_says_from_here_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples.write(CACHED, tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(main, ["serve", "models"]).output
    assert "models/m/config.pbtxt:2:44: TRN202" in refused
    refused = CliRunner().invoke(main, ["serve", "models/m"]).output
    assert "models/m: TRN012" in refused


@pytest.mark.parametrize("policy", ["latest {}", "latest { num_versions: 0 }"])
def test_a_policy_that_keeps_no_version(tmp_path: Path, policy: str) -> None:
    examples.write(f"version_policy {{ {policy} }}\n== m/1/model.py\n== m/old/model.py", tmp_path)
    (finding,) = check(tmp_path)
    assert (finding.code, finding.remedy) == ("TRN006", "write num_versions: 1")
    assert "old" not in finding.message


def test_a_policy_that_keeps_none_of_none(tmp_path: Path) -> None:
    examples.write("version_policy { latest {} }\n== m/1/model.py", tmp_path)
    (tmp_path / "m" / "1").rename(tmp_path / "m" / "old")
    assert [one.remedy for one in check(tmp_path) if one.code == "TRN006"] == [
        "rename m/old to m/1, and write num_versions: 1"
    ]


def commented(folder: Path, comment: str) -> list[Finding]:
    examples.write(f"{CACHED}# check: ignore {comment}\n", folder)
    return check(folder)


@pytest.mark.parametrize(
    "comment", ["TRN202", "TRN2", "TRN20: known", "trn2", "TRN105, TRN2", "TRN5 TRN202 x"]
)
def test_a_comment_leaves_rules_out_by_how_their_codes_begin(tmp_path: Path, comment: str) -> None:
    assert commented(tmp_path, comment) == []


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ("TRN999", "TRN999 is the beginning of no rule's code"),
        ("TRN2O2: the letter", "TRN2O2 is the beginning of no rule's code"),
        ("TRN", "it names none"),
        ("everything", "it names none"),
        (": TRN202", "it names none"),
    ],
)
def test_a_comment_that_leaves_nothing_out(tmp_path: Path, comment: str, message: str) -> None:
    found = commented(tmp_path, comment)
    assert [one.code for one in found] == ["TRN202", "TRN202", "TRN105"]
    assert found[-1].message == f"the comment leaves no rule out: {message}"
    assert (found[-1].line, found[-1].column) == (3, 1)
