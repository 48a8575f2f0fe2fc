"""Rules that one model's config.pbtxt cannot show: several folders, releases, files that are not text."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import ClassVar

import numpy
import pytest
from workbench import examples

from builder.check import Choice, check
from builder.finding import Finding
from builder.rule import Host

MODEL = 'backend: "python"\n' + examples.TENSORS
DECOUPLED = MODEL + "model_transaction_policy { decoupled: true }\n"


def codes(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def write(folder: Path, example: str) -> Path:
    examples.write(example, folder)
    return folder


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (found,) = check(tmp_path / "none", choice=Choice(("TRN001",)))
    assert (found.severity, found.path) == ("fatal", ".")
    assert "does not exist" in found.message


def test_a_model_that_two_folders_have(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, MODEL) for name in ("one", "two"))
    (found,) = check(first, second)
    assert (found.code, found.model, found.repository) == ("TRN008", "m", str(first))
    assert str(second / "m") in found.message
    assert check(first) == check(second) == []


def test_an_ensemble_may_have_its_parts_in_another_folder(tmp_path: Path) -> None:
    write(tmp_path / "all", _chain())
    (tmp_path / "parts").mkdir()
    (tmp_path / "all" / "second").rename(tmp_path / "parts" / "second")
    assert "TRN521" in codes(check(tmp_path / "all"))
    assert check(tmp_path / "all", tmp_path / "parts") == []


@pytest.mark.parametrize(("release", "found"), [("24.10", ["TRN103"]), ("24.11", []), ("26.09", [])])
def test_fields_are_gated_by_release(tmp_path: Path, release: str, found: list[str]) -> None:
    metrics = """
    model_metrics { metric_control {
      metric_identifier { family: "f" } histogram_options { buckets: [ 1 ] }
    } }
    """
    write(tmp_path, MODEL + metrics)
    assert codes(check(tmp_path, host=Host(release))) == found


@pytest.mark.parametrize(("release", "found"), [("25.10", ["TRN103"]), ("25.11", [])])
def test_a_field_of_ensembles_is_gated_too(tmp_path: Path, release: str, found: list[str]) -> None:
    write(tmp_path, _chain().replace("step {", "max_inflight_requests: 4 step {", 1))
    assert codes(check(tmp_path, host=Host(release))) == found


@pytest.mark.parametrize(("gpus", "found"), [(None, []), (0, ["TRN403"]), (1, ["TRN403"]), (2, [])])
def test_gpus_that_are_not_there(tmp_path: Path, gpus: int | None, found: list[str]) -> None:
    write(tmp_path, MODEL + "instance_group { kind: KIND_GPU gpus: [ 0, 1 ] }")
    found_here = check(tmp_path, host=Host(gpus=gpus), choice=Choice(("TRN4",)))
    assert codes(found_here) == found


@pytest.mark.parametrize(("release", "severity"), [("26.01", "warning"), ("26.02", "error")])
def test_labels_outside_the_model(tmp_path: Path, release: str, severity: str) -> None:
    write(tmp_path, 'output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "../labels.txt" }')
    (tmp_path / "labels.txt").write_text("a\nb\n")
    (found,) = check(tmp_path, host=Host(release), choice=Choice(("TRN322",)))
    assert found.severity == severity


@pytest.mark.parametrize(("release", "severity"), [("26.02", "warning"), ("26.03", "error")])
def test_sizes_that_overflow(tmp_path: Path, release: str, severity: str) -> None:
    huge = 'input { name: "X" data_type: TYPE_FP32 dims: [ 4294967296, 4294967296 ] }'
    write(tmp_path, huge + '\noutput { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] }')
    (found,) = check(tmp_path, host=Host(release))
    assert (found.code, found.severity) == ("TRN310", severity)


def test_many_processes_and_little_shared_memory(tmp_path: Path) -> None:
    write(tmp_path, MODEL + "instance_group { kind: KIND_CPU count: 32 }")
    assert check(tmp_path) == []
    write(tmp_path, MODEL + "instance_group { kind: KIND_CPU count: 33 }")
    assert codes(check(tmp_path)) == ["TRN707"]


def test_a_decoupled_model_that_never_takes_a_sender(tmp_path: Path) -> None:
    write(tmp_path, DECOUPLED)
    assert codes(check(tmp_path)) == ["TRN710"]
    (tmp_path / "m" / "1" / "model.py").write_text(examples.IDENTITY)
    assert codes(check(tmp_path)) == ["TRN711"]


def test_a_queue_limit_behind_a_stream(tmp_path: Path) -> None:
    write(tmp_path, _chain())
    parts = tmp_path / "first" / "config.pbtxt", tmp_path / "second" / "config.pbtxt"
    instances = "instance_group { count: 2 kind: KIND_CPU }\n"
    limit = instances + "dynamic_batching { default_queue_policy { max_queue_size: 4 } }\n"
    parts[1].write_text(parts[1].read_text() + limit)
    assert check(tmp_path) == []
    parts[0].write_text(parts[0].read_text() + "model_transaction_policy { decoupled: true }\n")
    (tmp_path / "first" / "1" / "model.py").write_text(examples.STREAM)
    assert codes(check(tmp_path, host=Host("26.02"))) == ["TRN710", "TRN728"]
    assert codes(check(tmp_path, host=Host("26.03"))) == ["TRN710"]
    parts[1].write_text(parts[1].read_text().replace("max_queue_size", "default_timeout_microseconds"))
    assert codes(check(tmp_path, host=Host("26.03"))) == ["TRN710", "TRN728"]


def test_an_output_twice_is_refused_by_new_releases(tmp_path: Path) -> None:
    write(tmp_path, 'output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }\n' * 2)
    severities = [
        one.severity
        for release in ("26.04", "26.05")
        for one in check(tmp_path, host=Host(release))
        if one.code == "TRN701"
    ]
    assert severities == ["warning", "error"]


def test_a_step_that_looks_for_cancels(tmp_path: Path) -> None:
    write(tmp_path, _chain())
    code = tmp_path / "first" / "1" / "model.py"
    code.write_text(code.read_text() + "# request.get_response_sender().is_cancelled()\n")
    (found,) = check(tmp_path)
    assert (found.code, found.model) == ("TRN729", "m")
    config = tmp_path / "m" / "config.pbtxt"
    config.write_text("# check: ignore TRN701, TRN729: they ask the first itself\n" + config.read_text())
    assert check(tmp_path) == []


def test_two_streams_that_meet(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
platform: "ensemble"
input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
ensemble_scheduling {
  step { model_name: "first" model_version: -1
    input_map { key: "X" value: "X" } output_map { key: "Y" value: "a" } }
  step { model_name: "second" model_version: -1
    input_map { key: "X" value: "X" } output_map { key: "Y" value: "b" } }
  step { model_name: "both" model_version: -1
    input_map { key: "X" value: "a" } input_map { key: "Z" value: "b" } output_map { key: "Y" value: "Y" } }
}
== both/config.pbtxt
input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
input { name: "Z" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
""",
    )
    assert check(tmp_path) == []
    for name in ("first", "second"):
        file = tmp_path / name / "config.pbtxt"
        file.write_text(file.read_text() + "model_transaction_policy { decoupled: true }\n")
        (tmp_path / name / "1" / "model.py").write_text(examples.STREAM)
    (found,) = check(tmp_path, choice=Choice(ignore=("TRN710",)))
    assert (found.code, found.line) == ("TRN529", 10)


def test_a_changed_artifact(tmp_path: Path) -> None:
    version = write(tmp_path, MODEL) / "m" / "1"
    (version / "backends").mkdir()
    (version / "tokenizer").mkdir()
    (version / "tokenizer" / "tokenizer.json").write_text("{}")
    (version / "model").mkdir()
    (version / "model" / "weights").write_bytes(b"weights")
    (version / "settings.json").write_text('{"model": "model"}')
    digest = hashlib.sha256(b"weights").hexdigest()
    manifest = version / "manifest.json"
    manifest.write_text(json.dumps({"artifact": {"sha256": {"model/weights": digest}}}))
    assert check(tmp_path) == []
    (version / "model" / "weights").write_bytes(b"Weights")
    (found,) = check(tmp_path)
    assert (found.code, found.path) == ("TRN633", "m/1/model/weights")
    (version / "model" / "weights").unlink()
    assert codes(check(tmp_path)) == ["TRN633"]
    for broken in ("{", "[]", "{}", '{"artifact": {"sha256": 1}}'):
        manifest.write_text(broken)
        assert codes(check(tmp_path)) == ["TRN632"]


class TestOnnx:
    """Against files that the onnx package writes."""

    CONFIG = """
backend: "onnxruntime"
max_batch_size: 8
input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
== m/1/.keep
"""

    @pytest.fixture
    def repository(self, tmp_path: Path) -> Path:
        return write(tmp_path, self.CONFIG)

    def model(
        self, repository: Path, dims: list[object], opset: int = 17, kind: int = 1, extra: bool = False
    ) -> None:
        onnx = pytest.importorskip("onnx")
        info = onnx.helper.make_tensor_value_info
        inputs = [info("X", kind, dims)] + ([info("Z", kind, dims)] if extra else [])
        node = onnx.helper.make_node("Identity", ["X"], ["Y"])
        weights = onnx.helper.make_tensor("w", 1, [2], [1.0, 2.0])
        graph = onnx.helper.make_graph([node], "g", inputs, [info("Y", kind, dims)], [weights])
        made = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8
        )
        (repository / "m" / "1" / "model.onnx").write_bytes(made.SerializeToString())

    def test_one_that_fits(self, repository: Path) -> None:
        self.model(repository, ["batch", 4])
        assert check(repository) == []

    def test_names(self, repository: Path) -> None:
        self.model(repository, ["batch", 4], extra=True)
        (found,) = check(repository)
        assert found.code == "TRN612"
        assert "expects 1 inputs, model provides 2: Z" in found.message
        config = repository / "m" / "config.pbtxt"
        config.write_text(config.read_text().replace('"Y"', '"y"'))
        assert codes(check(repository)) == ["TRN612", "TRN612"]

    def test_data_types(self, repository: Path) -> None:
        self.model(repository, ["batch", 4], kind=7)
        assert [(one.code, one.line) for one in check(repository)] == [("TRN613", 4), ("TRN613", 5)]
        assert "write data_type: TYPE_INT64" in check(repository)[0].remedy

    def test_shapes(self, repository: Path) -> None:
        self.model(repository, ["batch", 5])
        assert codes(check(repository)) == ["TRN614", "TRN614"]
        self.model(repository, ["batch", "length", 4])
        found = check(repository)
        assert codes(found) == ["TRN614", "TRN614"]
        assert "write dims: [-1, 4]" in found[0].remedy

    def test_an_open_dimension_of_the_graph(self, repository: Path) -> None:
        self.model(repository, ["batch", "size"])
        (found,) = check(repository)
        assert (found.code, found.line) == ("TRN614", 5)
        config = repository / "m" / "config.pbtxt"
        cut = 'batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "Y" source_input: "X" }'
        config.write_text(config.read_text() + cut)
        assert check(repository) == []

    def test_a_batch_axis_that_is_fixed(self, repository: Path) -> None:
        self.model(repository, [2, 4])
        assert set(codes(check(repository))) == {"TRN615"}

    @pytest.mark.parametrize(
        "more",
        [
            'sequence_batching { control_input { name: "Z" control { kind: CONTROL_SEQUENCE_START '
            "fp32_false_true: [ 0, 1 ] } } }",
            'sequence_batching { state { input_name: "Z" output_name: "Y" data_type: TYPE_FP32 dims: 4 } }',
            'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "Z" data_type: TYPE_FP32 source_input:"X"}',
        ],
    )
    def test_inputs_that_triton_makes_are_inputs_too(self, repository: Path, more: str) -> None:
        self.model(repository, ["batch", 4], extra=True)
        assert codes(check(repository)) == ["TRN612"]
        config = repository / "m" / "config.pbtxt"
        config.write_text(config.read_text() + more)
        assert not {"TRN612", "TRN673"} & set(codes(check(repository)))

    def test_an_input_with_a_value_of_its_own_is_optional_or_not_named(self, repository: Path) -> None:
        onnx = pytest.importorskip("onnx")
        self.model(repository, ["batch", 4], extra=True)
        path = repository / "m" / "1" / "model.onnx"
        made = onnx.load(path)
        made.graph.initializer.append(onnx.helper.make_tensor("Z", 1, [1, 4], [0.0] * 4))
        path.write_bytes(made.SerializeToString())
        assert check(repository) == []
        config = repository / "m" / "config.pbtxt"
        unnamed = config.read_text()
        named = 'input { name: "Z" data_type: TYPE_FP32 dims: [ 4 ] }'
        config.write_text(unnamed + named)
        (found,) = check(repository)
        assert (found.code, found.line, found.remedy[:9]) == ("TRN673", 6, "remove it")
        config.write_text(unnamed + named.replace("dims", "optional: true dims"))
        assert codes(check(repository)) == ["TRN617"]
        rows = unnamed.replace("max_batch_size: 8", "").replace("dims: [ 4 ]", "dims: [ -1, 4 ]")
        config.write_text(rows + named.replace("4", "1, 4"))
        (found,) = check(repository)
        assert found.remedy == "write optional: true: the graph has a value for it"
        config.write_text(rows + named.replace("dims: [ 4 ]", "dims: [ 1, 4 ] optional: true"))
        assert check(repository) == []

    def test_an_open_dim_may_be_written_as_a_negative_number(self, repository: Path) -> None:
        self.model(repository, [-1, 4])
        assert check(repository) == []

    def test_optional_inputs_do_not_batch(self, repository: Path) -> None:
        self.model(repository, ["batch", 4])
        config = repository / "m" / "config.pbtxt"
        config.write_text(config.read_text().replace('name: "X"', 'name: "X" optional: true'))
        assert codes(check(repository)) == ["TRN617"]

    def test_weights_in_a_file_of_their_own(self, repository: Path) -> None:
        onnx = pytest.importorskip("onnx")
        self.model(repository, ["batch", 4])
        path = repository / "m" / "1" / "model.onnx"
        made = onnx.load(path)
        weights = numpy.ones(2, dtype=numpy.float32)
        made.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "w"))
        onnx.external_data_helper.convert_model_to_external_data(made, location="w.bin", size_threshold=0)
        onnx.save(made, path)
        assert check(repository) == []
        (path.parent / "w.bin").unlink()
        (found,) = check(repository)
        assert (found.code, found.path) == ("TRN618", "m/1/w.bin")

    @pytest.mark.parametrize(
        ("opset", "release", "found"), [(21, "24.10", []), (23, "24.10", ["TRN616"]), (23, "26.09", [])]
    )
    def test_an_opset_that_is_too_new(
        self, repository: Path, opset: int, release: str, found: list[str]
    ) -> None:
        self.model(repository, ["batch", 4], opset=opset)
        assert codes(check(repository, host=Host(release))) == found


class TestEngines:
    ALONE: ClassVar = {"world_size": 1}
    CONFIG = 'backend: "tensorrtllm"\nparameters {{ key: "gpt_model_path" value {{ string_value: "{}" }} }}\n'

    def write(
        self, folder: Path, told: str, version: str = "1.2.1", ranks: int = 1, mapping: object = ALONE
    ) -> Path:
        engine = {"version": version, "pretrained_config": {"mapping": mapping}, "build_config": {}}
        files = "".join(f"== m/1/rank{rank}.engine\nengine\n" for rank in range(ranks))
        config = self.CONFIG.format(told) + examples.TENSORS
        return write(folder, f"{config}== m/1/config.json\n{json.dumps(engine)}\n{files}")

    @pytest.mark.parametrize("told", ["m/1", "/models/m/1", "/srv/m/repository/m/1/"])
    def test_the_repository_may_stand_anywhere(self, tmp_path: Path, told: str) -> None:
        assert check(self.write(tmp_path, told), host=Host("26.07")) == []
        (tmp_path / "m" / "1" / "rank0.engine").unlink()
        assert codes(check(tmp_path, host=Host("26.07"))) == ["TRN643"]

    @pytest.mark.parametrize("told", ["/engines/m", "/engines/llama", "", "m/7", "../m/1/../../secret"])
    def test_nothing_is_said_of_other_folders(self, tmp_path: Path, told: str) -> None:
        assert check(self.write(tmp_path, told, ranks=9), host=Host("26.07")) == []

    @pytest.mark.parametrize(
        ("version", "release", "words"),
        [
            ("1.2.0", "26.07", ""),
            ("1.1.0", "26.07", "the engine is of TensorRT-LLM 1.1.0, and 26.07 runs 1.2.1"),
            ("1.2.1", "26.08", "the engine is of TensorRT-LLM 1.2.1, and 26.08 runs no engines"),
        ],
    )
    def test_an_engine_fits_one_version(self, tmp_path: Path, version: str, release: str, words: str) -> None:
        found = check(self.write(tmp_path, "m/1", version), host=Host(release))
        assert [(one.code, one.path, one.message) for one in found] == (
            [("TRN644", "m/1/config.json", words)] if words else []
        )

    @pytest.mark.parametrize(
        ("version", "record", "words"),
        [
            ("1.2.1", {}, ""),
            ("0.19.0", {}, "the engine is of TensorRT-LLM 0.19.0, and 26.07 runs 1.2.1"),
            ("1.1.0", {"triton": "26.07"}, "the engine is of TensorRT-LLM 1.1.0, and 26.07 runs 1.2.1"),
            ("1.1.0", {"triton": "26.02"}, ""),
            ("1.2.1", {"triton": "26.02"}, "the engine is of TensorRT-LLM 1.2.1, and 26.02 runs 1.1.0"),
            ("1.2.1", {"triton": ["26.02"]}, ""),
        ],
    )
    def test_an_engine_is_compared_where_no_release_is_asked_for(
        self, tmp_path: Path, version: str, record: dict[str, object], words: str
    ) -> None:
        self.write(tmp_path, "m/1", version)
        (tmp_path / "m" / "1" / "engine.json").write_text(json.dumps(record))
        found = [(one.code, one.message) for one in check(tmp_path)]
        assert found == ([("TRN644", words)] if words else [])

    def test_a_version_that_is_none(self, tmp_path: Path) -> None:
        (found,) = check(self.write(tmp_path, "m/1", "abc"))
        assert (found.code, "says version 'abc'" in found.message) == ("TRN642", True)

    def test_files_of_another_engine(self, tmp_path: Path) -> None:
        (found,) = check(self.write(tmp_path, "m/1", ranks=2), host=Host("26.07"))
        assert found.message == "the engine was built for 1 rank: rank1.engine is of another engine"

    @pytest.mark.parametrize("name", ["rank0.engine", "rank1.engine"])
    def test_a_rank_that_is_empty(self, tmp_path: Path, name: str) -> None:
        mapping = {"world_size": 2, "tp_size": 2}
        self.write(tmp_path, "m/1", ranks=2, mapping=mapping)
        assert check(tmp_path, host=Host("26.07")) == []
        (tmp_path / "m" / "1" / name).write_bytes(b"")
        (found,) = check(tmp_path, host=Host("26.07"))
        assert (found.code, found.message) == (
            "TRN643",
            f"the engine was built for 2 ranks: {name} is empty",
        )

    @pytest.mark.parametrize(
        ("mapping", "said"),
        [
            ({"world_size": "two"}, "says world_size 'two' in mapping"),
            ({"world_size": 0}, "says world_size 0 in mapping"),
            (None, "says mapping None"),
            ({"world_size": 2}, "says world_size 2 in mapping, and 1 x 1 x 1 ranks"),
            ({"world_size": 10**9, "tp_size": 10**9}, "names 1000000000 ranks"),
        ],
    )
    def test_ranks_that_are_no_number(self, tmp_path: Path, mapping: object, said: str) -> None:
        (found,) = check(self.write(tmp_path, "m/1", mapping=mapping), host=Host("26.07"))
        assert (found.code, found.path) == ("TRN642", "m/1/config.json")
        assert said in found.message

    @pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, "", "\xff"])
    def test_a_config_that_is_none(self, tmp_path: Path, text: str) -> None:
        self.write(tmp_path, "m/1")
        (tmp_path / "m" / "1" / "config.json").write_text(text, encoding="latin-1")
        (found,) = check(tmp_path, host=Host("26.07"))
        assert (found.code, found.path) == ("TRN642", "m/1/config.json")


def test_nothing_is_written_and_all_is_told(tmp_path: Path) -> None:
    write(tmp_path, "max_batch_size: -1\ndynamic_batching { preferred_batch_size: [ 0 ] }")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert {"TRN116", "TRN201"} <= set(codes(check(tmp_path)))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_rules_are_chosen_by_the_beginning_of_their_code(tmp_path: Path) -> None:
    write(tmp_path, "max_batch_size: -1\ninstance_group { kind: KIND_CPU count: -1 }")
    assert set(codes(check(tmp_path))) == {"TRN116", "TRN703"}
    assert codes(check(tmp_path, choice=Choice(("TRN1",)))) == ["TRN116"]
    assert codes(check(tmp_path, choice=Choice(ignore=("TRN116",)))) == ["TRN703"]
    assert codes(check(tmp_path, choice=Choice(("TRN7", "TRN1"), ("TRN7",)))) == ["TRN116"]


def _chain() -> str:
    from workbench import mutations

    return mutations.SEEDS[2]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "model.json names no model"),
        ({"model": 5}, "model is 5"),
        ({"model": ""}, 'model is ""'),
        ({"model": None}, "model is null"),
    ],
)
def test_engine_arguments_that_name_no_model(told: dict[str, object], said: str, tmp_path: Path) -> None:
    write(tmp_path, f'backend: "vllm"\n== m/1/model.json\n{json.dumps(told)}\n')
    (found,) = check(tmp_path, choice=Choice(("TRN65",)))
    assert (found.code, found.message, found.where) == ("TRN655", said, "m/1/model.json")
