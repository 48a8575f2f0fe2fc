"""What is found without a server, and that good repositories are left in peace."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import layout
from builder.check import check

SERVERS = Path(__file__).parents[1] / "servers"
CASES = sorted((SERVERS / "broken").iterdir())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_findings_of_the_broken_repositories(case: Path) -> None:
    found = [f"{finding.severity} {finding.code} {finding.where}" for finding in check(case / "repository")]
    assert found == (case / "findings.txt").read_text().splitlines()


def test_a_good_repository_has_no_findings() -> None:
    assert check(SERVERS / "good") == []


def test_every_finding_has_a_remedy() -> None:
    findings = [finding for case in CASES for finding in check(case / "repository")]
    assert all(finding.remedy and finding.message for finding in findings)


@given(st.integers(1, 2**80), st.sampled_from(["", "_backup", ".old", " "]))
def test_version_names_are_read_as_triton_does(number: int, tail: str) -> None:
    folder = layout._version(Path("model") / f"{number}{tail}")
    assert folder.number == number
    assert folder.is_exact == (tail == "")


@pytest.mark.parametrize(
    "name", ["warmup", "initial_state", "configs", "backup_2", "0_old", "01", "007", "v1"]
)
def test_folders_that_are_no_versions(name: str) -> None:
    assert layout._version(Path(name)).number is None


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", (3,)),
        ("version_policy { latest { num_versions: 2 } }", (2, 3)),
        ("version_policy { all {} }", (1, 2, 3)),
        ("version_policy { specific { versions: [ 1, 9 ] } }", (1,)),
        ("version_policy { latest {} }", ()),
    ],
)
def test_served_versions(tmp_path: Path, policy: str, served: tuple[int, ...]) -> None:
    for version in (1, 2, 3):
        (tmp_path / "m" / str(version)).mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text(f'backend: "python"\n{policy}\n')
    assert layout.read(tmp_path).models["m"].served == served


def test_an_onnx_file_is_found_truncated_wherever_it_was_cut(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    tensors = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", tensors[:1], tensors[1:])
    whole = onnx.helper.make_model(graph, producer_name="builder").SerializeToString()
    shutil.copytree(SERVERS / "good" / "adder", tmp_path / "adder")
    path = tmp_path / "adder" / "1" / "model.onnx"
    path.write_bytes(whole)
    assert check(tmp_path) == []
    boundaries = 0
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        codes = [finding.code for finding in check(tmp_path)]
        boundaries += not codes
        assert codes in ([], ["TRN611"])
    # A cut exactly between two top-level fields leaves a file of whole fields; there are few of them.
    assert boundaries <= 4


def test_a_built_model_without_its_files(tmp_path: Path) -> None:
    shutil.copytree(SERVERS / "good" / "adder", tmp_path / "adder")
    version = tmp_path / "adder" / "1"
    (version / "backends").mkdir()
    (version / "backends" / "words.py").write_text("from tokenizers import Tokenizer\n")
    (version / "settings.json").write_text('{"model": "model"}')
    assert [finding.message for finding in check(tmp_path)] == [
        "adder/1: tokenizer/tokenizer.json does not exist",
        "adder/1: model does not exist",
    ]
    (version / "settings.json").write_text("{")
    assert "settings.json is not JSON" in check(tmp_path)[0].message


def test_a_misread_folder_is_fatal_only_where_triton_would_serve_it(tmp_path: Path) -> None:
    shutil.copytree(SERVERS / "good" / "adder", tmp_path / "adder")
    (tmp_path / "adder" / "0.old").mkdir()
    assert check(tmp_path) == []
    (tmp_path / "adder" / "1_backup").mkdir()
    assert [finding.severity for finding in check(tmp_path)] == ["warning"]
    (tmp_path / "adder" / "2_backup").mkdir()
    assert [finding.severity for finding in check(tmp_path)] == ["fatal", "warning"]
    shutil.copytree(tmp_path / "adder" / "1", tmp_path / "adder" / "3")
    assert [finding.severity for finding in check(tmp_path)] == ["warning", "warning"]


def test_a_folder_that_is_hidden_is_a_model_at_the_top_alone(tmp_path: Path) -> None:
    (tmp_path / ".git" / ".cache").mkdir(parents=True)
    (tmp_path / ".writable-1").touch()
    (model,) = layout.read(tmp_path).models.values()
    assert (model.name, model.folders, model.is_stray) == (".git", (), True)
