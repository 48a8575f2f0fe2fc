"""What a server adds to a config itself, and what it must find in the model's folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from workbench import examples

from builder.check import check
from builder.cli import main
from builder.finding import Finding
from builder.rule import Host

COMPLETING, STRICT = Host("24.10"), Host("24.10", completes=False)
ENSEMBLE = """
platform: "ensemble"
max_batch_size: 8
input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
ensemble_scheduling {
  step { model_name: "part" model_version: -1
    input_map { key: "X" value: "X" } output_map { key: "Y" value: "Y" } }
}
== part/config.pbtxt
backend: "python"
input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
"""
COMPLETES = """\
class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config): return config
    def execute(self, requests): return []
"""
TENSORS = """
input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
"""


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def errors(findings: list[Finding]) -> list[str]:
    return [one.code for one in findings if one.severity != "warning"]


def found(folder: Path, code: str, host: Host = COMPLETING) -> Finding:
    (finding,) = [one for one in check(folder, host=host) if one.code == code]
    return finding


@pytest.mark.parametrize("file", ["model.plan", "model.xml", "model.savedmodel/saved_model.pb"])
def test_a_config_may_be_left_to_a_server_that_completes(tmp_path: Path, file: str) -> None:
    write(tmp_path, {f"m/1/{file}": "x"})
    assert errors(check(tmp_path, host=COMPLETING)) == []
    assert errors(check(tmp_path, host=STRICT)) == ["TRN101"]


def test_a_python_model_completes_itself_by_its_own_function(tmp_path: Path) -> None:
    write(tmp_path, {"m/1/model.py": COMPLETES})
    assert errors(check(tmp_path, host=COMPLETING)) == []
    write(tmp_path, {"m/1/model.py": examples.IDENTITY})
    assert errors(check(tmp_path, host=COMPLETING)) == ["TRN101"]


def test_parts_that_complete_themselves_are_not_held_against_an_ensemble(tmp_path: Path) -> None:
    examples.write(ENSEMBLE, tmp_path)
    write(tmp_path, {"part/1/model.py": COMPLETES})
    assert errors(check(tmp_path, host=COMPLETING)) == []
    assert errors(check(tmp_path, host=STRICT)) == ["TRN525"]
    assert "TRN730" in [one.code for one in check(tmp_path, host=STRICT)]


def test_a_warm_up_of_inputs_that_the_backend_adds(tmp_path: Path) -> None:
    warmup = (
        'model_warmup { name: "w" batch_size: 1 inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] '
    )
    write(
        tmp_path,
        {"m/config.pbtxt": 'backend: "tensorrt"\n' + warmup + "zero_data: true } } }", "m/1/model.plan": "x"},
    )
    assert "TRN429" not in [one.code for one in check(tmp_path, host=COMPLETING)]
    assert "TRN429" in [one.code for one in check(tmp_path, host=STRICT)]


def test_a_warm_up_without_inputs_of_a_model_that_batches(tmp_path: Path) -> None:
    examples.write('max_batch_size: 8\nmodel_warmup { name: "w" batch_size: 1 }', tmp_path)
    config = tmp_path / "m" / "config.pbtxt"
    config.write_text(config.read_text().replace('name: "X"', 'name: "X" optional: true'))
    assert "request has 0 inputs" in found(tmp_path, "TRN425").message
    config.write_text(config.read_text().replace("max_batch_size: 8", ""))
    assert errors(check(tmp_path, host=COMPLETING)) == []


@pytest.mark.parametrize(
    ("backend", "there", "wanted"),
    [
        ("onnxruntime", "resnet.onnx", "model.onnx"),
        ("tensorrt", "model.engine", "model.plan"),
        ("openvino", "net.xml", "model.xml"),
        ("pytorch", "weights.pt", "model.pt"),
        ("vllm", "engine.json", "model.json"),
    ],
)
def test_the_file_that_a_backend_loads_is_there(
    tmp_path: Path, backend: str, there: str, wanted: str
) -> None:
    write(tmp_path, {"m/config.pbtxt": f'backend: "{backend}"' + TENSORS, f"m/1/{there}": "x"})
    finding = found(tmp_path, "TRN651")
    assert (finding.severity, finding.path) == ("error", f"m/1/{wanted}")
    with (tmp_path / "m" / "config.pbtxt").open("a") as file:
        file.write(f'default_model_filename: "{there}"')
    assert "TRN651" not in [one.code for one in check(tmp_path)]


def test_what_a_build_wrote_beside_it_is_not_what_a_backend_loads(tmp_path: Path) -> None:
    beside = dict.fromkeys(("m/1/build.json", "m/1/config.json", "m/1/manifest.json"), "{}")
    write(tmp_path, {"m/config.pbtxt": f'backend: "vllm"{TENSORS}', **beside})
    assert found(tmp_path, "TRN651").remedy == "put model.json into m/1"


def test_what_a_template_left_in_a_string_is_a_warning(tmp_path: Path) -> None:
    value = 'parameters { key: "a" value { string_value: "${medusa_choices}" } }'
    write(tmp_path, {"m/config.pbtxt": f'backend: "python"{TENSORS}{value}', "m/1/model.py": COMPLETES})
    finding = found(tmp_path, "TRN104")
    assert (finding.severity, finding.line) == ("warning", 4)


@pytest.mark.parametrize("value", ["<EOS>", "{{ content }}", "a # b", "$HOME"])
def test_a_string_may_hold_what_looks_like_a_placeholder(tmp_path: Path, value: str) -> None:
    told = f'parameters {{ key: "a" value {{ string_value: "{value}" }} }}'
    write(tmp_path, {"m/config.pbtxt": f'backend: "python"{TENSORS}{told}', "m/1/model.py": COMPLETES})
    assert check(tmp_path) == []


def test_a_placeholder_after_a_hash_in_a_string_is_seen(tmp_path: Path) -> None:
    write(tmp_path, {"m/config.pbtxt": 'metric_tags { key: "#" value: "${UNFILLED}" }', "m/1/model.py": ""})
    assert found(tmp_path, "TRN104").column == 32


def test_a_placeholder_hides_no_other_mistake(tmp_path: Path) -> None:
    text = 'backend: "python"\nmax_batch_size: ${size}\nmax_batchsize: 8\n'
    write(tmp_path, {"m/config.pbtxt": text, "m/1/model.py": COMPLETES})
    places = {one.code: one.line for one in check(tmp_path)}
    assert places == {"TRN102": 3, "TRN104": 2}


@pytest.mark.parametrize(
    ("name", "severity", "remedy"),
    [
        ("onnx", "error", "did you mean onnxruntime?"),
        ("tensorrt_llm", "error", "did you mean tensorrtllm?"),
        ("pyhton", "error", "did you mean python?"),
        ("acme_engine", "warning", "put the backend into"),
    ],
)
def test_a_backend_that_nobody_has(tmp_path: Path, name: str, severity: str, remedy: str) -> None:
    write(tmp_path, {"m/config.pbtxt": f'backend: "{name}"' + TENSORS, "m/1/x": ""})
    finding = found(tmp_path, "TRN411")
    assert finding.severity == severity
    assert finding.remedy.startswith(remedy)


@pytest.mark.parametrize(("release", "codes"), [("25.02", []), ("25.03", ["TRN413"])])
def test_tensorflow_left_the_containers(tmp_path: Path, release: str, codes: list[str]) -> None:
    files = {"m/config.pbtxt": 'backend: "tensorflow"' + TENSORS, "m/1/model.graphdef": "x"}
    assert [one.code for one in check(write(tmp_path, files), host=Host(release))] == codes


@pytest.mark.parametrize(
    ("code", "release", "severity"),
    [
        ("type Ids = list[int]\n", "26.09", "warning"),
        ("type Ids = list[int]\n", "24.10", "error"),
        ("def execute(self) return []\n", "26.09", "error"),
    ],
)
def test_a_newer_python_may_read_what_this_one_does_not(
    tmp_path: Path, code: str, release: str, severity: str
) -> None:
    write(tmp_path, {"m/config.pbtxt": 'backend: "python"' + TENSORS, "m/1/model.py": "\n" + code})
    finding = found(tmp_path, "TRN622", Host(release))
    assert (finding.severity, finding.line) == (severity, 2)


def test_a_pointer_of_git_lfs_says_so(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    write(tmp_path, {"m/config.pbtxt": 'backend: "python"' + TENSORS, "m/1/model.py": pointer})
    assert "git lfs pull" in found(tmp_path, "TRN622").remedy


def test_an_environment_named_from_nowhere(tmp_path: Path) -> None:
    told = 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "env.tar.gz" } }'
    write(tmp_path, {"m/config.pbtxt": 'backend: "python"' + TENSORS + told, "m/1/model.py": COMPLETES})
    assert "$$TRITON_MODEL_DIRECTORY/env.tar.gz" in found(tmp_path, "TRN627").remedy


def test_a_sender_may_be_taken_in_a_file_beside_model_py(tmp_path: Path) -> None:
    code = "from base import Streaming\n\n\nclass TritonPythonModel(Streaming): pass\n"
    config = 'backend: "python"\nmodel_transaction_policy { decoupled: true }' + TENSORS
    write(tmp_path, {"m/config.pbtxt": config, "m/1/model.py": code, "m/1/base.py": examples.STREAM})
    assert [one.code for one in check(tmp_path)] == ["TRN710"]


def test_the_command_may_be_told_of_a_strict_server(tmp_path: Path) -> None:
    write(tmp_path, {"m/1/model.plan": "x"})
    outcomes = [
        CliRunner().invoke(main, ["check", str(tmp_path), *more]).exit_code
        for more in ([], ["--disable-auto-complete-config"])
    ]
    assert outcomes == [0, 1]
