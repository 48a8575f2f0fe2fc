"""However large, deep or entangled it is: findings within a minute and 1.5 GB."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import watchdog
from test_hostile import CONFIG, built, codes, model, name_labels
from workbench import examples

from builder import ensemble_graph, layout
from builder.check import check

HUGE = CONFIG + "# padding\n" * 5_000_000


def test_a_config_of_fifty_megabytes(tmp_path: Path) -> None:
    model(tmp_path, HUGE)
    assert len(HUGE) > 50_000_000
    assert codes(check(tmp_path)) == ["TRN013"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "input {}\n" * 6_000_000,
        "input {}\n" * 110_000,
        "unknown: 1\n" * 90_000,
        "parameters { " + "value { key: 'k' " * 18 + "} " * 19,
        'name: "${x} ' + '"" ' * 300_000,
        "#${" + "a" * 1_000_000,
        "a" * 1_000_000 + ": ${x}",
        "platform: 'ensemble' ensemble_scheduling {\n"
        + "".join(
            f"step {{ model_name: 'm' input_map {{ key: 'X' value: '{place + 1}' }} "
            f"output_map {{ key: 'Y' value: '{place}' }} }}\n"
            for place in range(9_000)
        )
        + "}",
    ],
    ids=["50 MB", "inputs", "unknown", "nested entries", "strings", "comment", "name", "steps backwards"],
)
def test_a_config_that_grows_when_it_is_read(text: str, tmp_path: Path) -> None:
    model(tmp_path, text)
    assert str(tmp_path / "m" / "config.pbtxt") in watchdog.check(tmp_path).read


@pytest.mark.slow
def test_ten_thousand_models(tmp_path: Path) -> None:
    for number in range(10_000):
        (tmp_path / f"m{number}").mkdir()
    assert len(check(tmp_path)) >= 10_000


def ensemble(repository: Path, name: str, *parts: str) -> None:
    steps = "".join(
        f'step {{ model_name: "{part}" model_version: -1 input_map {{ key: "X" value: "X" }} '
        f'output_map {{ key: "Y" value: "{"Y" if not place else f"Y{place}"}" }} }}\n'
        for place, part in enumerate(parts)
    )
    text = f'platform: "ensemble"{examples.TENSORS}ensemble_scheduling {{ {steps} }}'
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "1" / ".keep").touch()
    (repository / name / "config.pbtxt").write_text(text)


@pytest.mark.slow
def test_ensembles_that_nest_two_thousand_deep(tmp_path: Path) -> None:
    model(tmp_path, name="last")
    for place in range(2_000):
        ensemble(tmp_path, f"e{place}", f"e{place + 1}" if place < 1_999 else "last")
    watched = watchdog.check(tmp_path)
    assert "TRN522" not in watched.codes


def test_a_circle_of_two_thousand_ensembles(tmp_path: Path) -> None:
    for place in range(2_000):
        ensemble(tmp_path, f"e{place}", f"e{(place + 1) % 2_000}")
    ensemble(tmp_path, "before", "e0")
    repository = layout.read(tmp_path)
    circle = ensemble_graph.circle(repository.models["e7"], repository)
    assert circle == (*(f"e{(place + 7) % 2_000}" for place in range(2_000)), "e7")
    assert ensemble_graph.circle(repository.models["before"], repository) == ()


def test_ensembles_that_each_name_the_next_one_twice(tmp_path: Path) -> None:
    model(tmp_path, name="last")
    for place in range(40):
        after = f"e{place + 1}" if place < 39 else "last"
        ensemble(tmp_path, f"e{place}", after, after)
    watched = watchdog.check(tmp_path)
    assert "TRN522" not in watched.codes


@pytest.mark.parametrize("data", [b"\x08\x00" * 2_000_000, b"\x3a\x02\x5a\x00" * 1_000_000])
def test_an_onnx_file_of_a_million_fields(data: bytes, tmp_path: Path) -> None:
    path = model(tmp_path, 'backend: "onnxruntime"' + examples.TENSORS)
    (path / "1" / "model.onnx").write_bytes(data)
    watched = watchdog.check(tmp_path)
    assert [one["path"] for one in watched.findings if one["code"] == "TRN013"] == ["m/1/model.onnx"]


def test_an_onnx_file_is_read_once_and_again_when_it_changes(tmp_path: Path) -> None:
    path = model(tmp_path, 'backend: "onnxruntime"' + examples.TENSORS)
    (path / "1" / "model.onnx").write_bytes(b"broken")
    assert "TRN611" in codes(check(tmp_path))
    (path / "1" / "model.onnx").write_bytes(b"\x08\x07")
    assert "TRN611" not in codes(check(tmp_path))


@pytest.mark.parametrize("name", ["labels.txt", "1/model.py", "config.pbtxt", "1/settings.json"])
def test_a_file_of_two_gigabytes(name: str, tmp_path: Path) -> None:
    path = built(tmp_path).parent
    name_labels(path, "labels.txt")
    with (path / name).open("ab") as file:
        file.truncate(2_000_000_000)
    (path / "labels.txt").touch()
    watched = watchdog.check(tmp_path)
    assert [one["path"] for one in watched.findings if one["code"] == "TRN013"] == [f"m/{name}"]


def test_folders_that_nest_deeper_than_python(tmp_path: Path) -> None:
    path = model(tmp_path) / "1"
    deep = os.open(path, os.O_RDONLY)
    for _ in range(1_500):
        os.mkdir("a", dir_fd=deep)
        deeper = os.open("a", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = deeper
    os.close(deep)
    try:
        assert check(tmp_path) == []
    finally:
        # pytest would clean up by recursion
        subprocess.run(["rm", "-rf", str(path)], check=True)


@pytest.mark.parametrize("field", ["model_warmup", "state", "reshape"])
def test_dims_whose_product_no_line_holds(field: str, tmp_path: Path) -> None:
    dims = ", ".join([str(2**62)] * 400)
    more = {
        "model_warmup": 'model_warmup { name: "w" batch_size: 1 inputs { key: "X" value '
        f'{{ data_type: TYPE_FP32 dims: [ {dims} ] input_data_file: "x" }} }} }}',
        "state": 'sequence_batching { state { input_name: "I" output_name: "O" data_type: TYPE_FP32 '
        f'dims: [ {dims} ] initial_state {{ name: "i" data_type: TYPE_FP32 dims: [ {dims} ] '
        'data_file: "x" } } }',
        "reshape": f'input {{ name: "Z" data_type: TYPE_FP32 dims: [ {dims} ] reshape {{ shape: [ 1 ] }} }}',
    }
    path = model(tmp_path, CONFIG + more[field])
    for folder in ("warmup", "initial_state"):
        (path / folder).mkdir()
        (path / folder / "x").touch()
    assert check(tmp_path)
