"""Files are written whole or not at all, and nobody's work is overwritten; the command says what it did."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from builder import deploy
from builder.cli import main
from builder.errors import RepositoryError

DOCS = Path(__file__).resolve().parents[2] / "docs" / "deploy.md"


def run(*words: object) -> Result:
    result = CliRunner().invoke(main, ["deploy", "compose", *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out" / "deploy"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_command_to_start_is_one_for_a_shell(scripted: Path, tmp_path: Path) -> None:
    said = run(scripted, "--output", tmp_path / "my deployment").stdout
    (line,) = [line for line in said.splitlines() if line.startswith("start it: ")]
    assert shlex.split(line)[5] == str(tmp_path / "my deployment" / "compose.yaml")


def test_first_time(scripted: Path, output: Path) -> None:
    result = run(scripted, "--output", output)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"wrote {output / 'compose.yaml'}" in result.stdout
    assert f"docker compose --file {output / 'compose.yaml'} up" in result.stdout
    assert names(output) == ["Dockerfile", "Dockerfile.gateway", "compose.yaml"]


def test_again_changes_nothing(scripted: Path, output: Path) -> None:
    run(scripted, "--output", output)
    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    result = run(scripted, "--output", output, "--json")
    assert json.loads(result.stdout)["written"] == []
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == before


def test_our_own_files_follow_the_options(scripted: Path, output: Path) -> None:
    run(scripted, "--output", output)
    result = run(scripted, "--output", output, "--http-port", 9000, "--json")
    assert json.loads(result.stdout)["written"] == [str(output / "compose.yaml")]
    assert "127.0.0.1:9000:8000" in (output / "compose.yaml").read_text()


@pytest.mark.parametrize("name", deploy.COMPOSE)
@pytest.mark.parametrize("header", ["kept", "lost"])
def test_a_changed_file_is_kept(name: str, header: str, scripted: Path, output: Path) -> None:
    run(scripted, "--output", output)
    file = output / name
    text = file.read_text()
    file.write_text(text + "# mine\n" if header == "kept" else text.partition("\n")[2])
    mine = {path: path.read_bytes() for path in output.iterdir()}
    changes = ("--output", output, "--http-port", 9000, "--triton", "26.03")
    result = run(scripted, *changes)
    assert result.exit_code == 1
    assert f"{file} was changed by somebody" in result.stderr
    assert "--force" in result.stderr
    assert {path: path.read_bytes() for path in output.iterdir()} == mine
    assert run(scripted, *changes, "--force").exit_code == 0
    assert "# mine" not in file.read_text()


def test_what_others_left_in_the_folder_stays(scripted: Path, output: Path) -> None:
    output.mkdir(parents=True)
    (output / "overlay.yaml").write_text("services: {}\n")
    run(scripted, "--output", output)
    assert (output / "overlay.yaml").read_text() == "services: {}\n"


def test_nothing_is_left_half_written(output: Path) -> None:
    output.mkdir(parents=True)
    (output / "a").write_text("old")
    with pytest.raises(RepositoryError):
        # the second name lies in a folder that does not exist, so writing fails half way
        deploy.write({"a": "new", "missing/b": "new"}, output, force=True)
    assert (output / "a").read_text() == "old"
    assert names(output) == ["a"]


def test_a_file_in_the_way(scripted: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(RepositoryError, match="writing to"):
        deploy.write({"a": ""}, tmp_path / "out" / "deploy")
    assert run(scripted, "--output", tmp_path / "out").exit_code == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--triton", "26.12"), 2, "the nearest is --triton 26.08"),
        (("--triton", ""), 2, "is not in the table"),
        (("--bind", "everywhere"), 2, "is not an IP address"),
        (("--http-port", "8002"), 2, "--http-port and --metrics-port are both 8002"),
        (("--openai-port", "8001"), 2, "--grpc-port and --openai-port are both 8001"),
        (("--http-port", "0"), 2, "not in the range 1<=x<=65535"),
        (("--gpus", "few"), 2, "expected: all, 1, 2, ... or none"),
        (("--memory", ""), 2, "is empty"),
        (("--memory", "4m"), 2, "pass --memory 1024m or more"),
    ],
)
def test_misuse_writes_nothing(
    words: tuple[str, ...], code: int, said: str, scripted: Path, output: Path
) -> None:
    result = run(scripted, "--output", output, *words)
    assert result.exit_code == code
    assert said in result.stderr
    assert not output.exists()


def test_a_folder_that_is_no_repository(tmp_path: Path, output: Path) -> None:
    result = run(tmp_path / "nowhere", "--output", output)
    assert result.exit_code == 1
    assert "nowhere does not exist" in result.stderr
    assert not output.exists()


def test_open_ports_are_warned_of(scripted: Path, output: Path) -> None:
    result = run(scripted, "--output", output, "--bind", "0.0.0.0")
    assert result.exit_code == 0
    assert "warning: --bind 0.0.0.0 lets others reach a server" in result.stderr


def test_a_tight_limit_is_warned_of(default: Path, output: Path) -> None:
    result = run(default, "--output", output, "--memory", "2g")
    assert result.exit_code == 0
    assert "warning: with 2.00 GiB" in result.stderr


def test_the_page_names_every_option() -> None:
    import click

    group = main.get_command(click.Context(main), "deploy")
    assert isinstance(group, click.Group)
    for option in group.commands["compose"].params:
        if isinstance(option, click.Option):
            assert option.help and option.help.endswith("."), option.name
            assert f"`{option.opts[0]}`" in DOCS.read_text()
