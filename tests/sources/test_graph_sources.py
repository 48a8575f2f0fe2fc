"""Bare graphs, .onnx and .pt2, are described as their own libraries read them, without those libraries."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder import architecture, trust
from builder.errors import SourceError
from builder.source import digest, open_checkpoint
from builder.sources import exported_program, onnx

FLOAT, INT64, STRING, BFLOAT16 = 1, 7, 8, 16


def refused(reference, *said):
    with pytest.raises(SourceError) as caught:
        open_checkpoint(reference)
    assert caught.value.expected
    assert caught.value.remedy
    for text in said:
        assert text in caught.value.sentence()


# --- .onnx


@pytest.fixture(scope="module")
def helper():
    return pytest.importorskip("onnx").helper


def save(helper, path, inputs, outputs, **more):
    """Write a graph of these (name, element type, shape); nothing in it is ever run."""
    graph = helper.make_graph(
        [],
        "g",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        **more,
    )
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def test_described(helper, tmp_path):
    path = save(
        helper,
        tmp_path / "model.onnx",
        [("ids", INT64, ["batch", "length"]), ("text", STRING, ["batch", 1])],
        [("scores", FLOAT, ["batch", 3]), ("best", INT64, ["batch"])],
    )
    checkpoint = open_checkpoint(path)
    assert checkpoint.format == checkpoint.model_type == "onnx"
    assert checkpoint.files == (path,)
    assert checkpoint.config["inputs"] == [
        {"name": "ids", "data_type": "INT64", "dims": [-1]},
        {"name": "text", "data_type": "STRING", "dims": [1]},
    ]
    assert checkpoint.config["outputs"] == [
        {"name": "scores", "data_type": "FP32", "dims": [3]},
        {"name": "best", "data_type": "INT64", "dims": [1]},
    ]
    assert checkpoint.config["batches"] is True
    assert list(digest(checkpoint)) == ["model.onnx"]


def test_dimensions_are_those_of_the_file(helper, tmp_path):
    path = save(helper, tmp_path / "m.onnx", [("x", FLOAT, ["n", 3, 5])], [("y", FLOAT, ["n", 2])])
    checkpoint = open_checkpoint(path)
    family = architecture.load("onnx")
    found = family.dimensions(checkpoint.config)
    assert found.parameters == path.stat().st_size // 4
    assert found.activation_elements(7) == 15
    assert (found.layers, found.context_length) == (0, 1)
    assert family.PIPELINES == ("tensors",)
    with pytest.raises(SourceError, match="lacks inputs, outputs, weight_bytes"):
        family.dimensions({"model_type": "onnx"})


SHAPES = st.lists(st.one_of(st.integers(1, 9), st.sampled_from(["batch", "n", None])), max_size=4)
TENSORS = st.lists(st.tuples(st.sampled_from(sorted(onnx.DATA_TYPES)), SHAPES), min_size=1, max_size=3)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TENSORS, TENSORS)
def test_any_graph_as_the_onnx_package_reads_it(helper, tmp_path, inputs, outputs):
    path = save(
        helper,
        tmp_path / "any.onnx",
        [(f"in{place}", *one) for place, one in enumerate(inputs)],
        [(f"out{place}", *one) for place, one in enumerate(outputs)],
    )
    config = open_checkpoint(path).config
    every = [*inputs, *outputs]
    batches = all(shape and not isinstance(shape[0], int) for _, shape in every)
    assert config["batches"] == batches
    for entry, (element, shape) in zip([*config["inputs"], *config["outputs"]], every, strict=True):
        dims = [size if isinstance(size, int) else -1 for size in shape][1 if batches else 0 :]
        assert entry["dims"] == (dims or [1])
        # numpy's names are Triton's but for a letter or two
        numpy_name = str(helper.tensor_dtype_to_np_dtype(element))
        triton = entry["data_type"].lower().replace("fp", "float").replace("string", "object")
        assert numpy_name == triton


def test_inputs_with_a_value_of_their_own_are_no_inputs(helper, tmp_path):
    weight = helper.make_tensor("w", FLOAT, [1], [2.0])
    path = save(
        helper,
        tmp_path / "m.onnx",
        [("x", FLOAT, [1]), ("w", FLOAT, [1])],
        [("y", FLOAT, [1])],
        initializer=[weight],
    )
    assert [one["name"] for one in open_checkpoint(path).config["inputs"]] == ["x"]


def external(helper, path, location):
    weight = helper.make_tensor("w", FLOAT, [1], [2.0])
    weight.ClearField("float_data")
    weight.data_location = 1
    weight.external_data.add(key="location", value=location)
    return save(helper, path, [("x", FLOAT, ["n"])], [("y", FLOAT, ["n"])], initializer=[weight])


def test_weights_beside_the_model_are_files_of_it(helper, tmp_path):
    (tmp_path / "w.bin").write_bytes(b"1234")
    path = external(helper, tmp_path / "m.onnx", "w.bin")
    checkpoint = open_checkpoint(path)
    assert checkpoint.files == (path, tmp_path / "w.bin")
    assert checkpoint.config["weight_bytes"] == path.stat().st_size + 4
    before = checkpoint.fingerprint
    (tmp_path / "w.bin").write_bytes(b"12345678")
    assert open_checkpoint(path).fingerprint != before


def test_weights_that_are_elsewhere(helper, tmp_path):
    refused(external(helper, tmp_path / "m.onnx", "w.bin"), "w.bin, which is not beside it", "put w.bin")
    (tmp_path.parent / "secret").write_bytes(b"")
    refused(external(helper, tmp_path / "m.onnx", "../secret"), "outside of its own folder")
    refused(external(helper, tmp_path / "m.onnx", "/etc/hostname"), "outside of its own folder")


def test_what_triton_cannot_carry(helper, tmp_path):
    path = tmp_path / "m.onnx"
    save(helper, path, [("x", BFLOAT16, ["n"])], [("y", FLOAT, ["n"])])
    refused(path, "input 'x' has ONNX's element type 16", "cast it")
    save(helper, path, [("x", FLOAT, ["n"])], [("y", FLOAT, None)])
    refused(path, "output 'y' states no shape", "infer_shapes")
    save(helper, path, [], [("y", FLOAT, ["n"])])
    refused(path, "0 inputs and 1 outputs")


def test_damaged_onnx(helper, tmp_path):
    whole = save(helper, tmp_path / "m.onnx", [("x", FLOAT, ["n"])], [("y", FLOAT, ["n"])]).read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(whole[:-3])
    refused(path, "no whole ONNX file", "breaks off")
    path.write_bytes(b"")
    refused(path, "it is empty")
    refused(tmp_path / "none.onnx", "none.onnx does not exist")
    (tmp_path / "folder.onnx").mkdir()
    refused(tmp_path / "folder.onnx")


# --- .pt2


BATCH = {"as_expr": {"expr_str": "Symbol('s37', positive=True, integer=True)", "hint": {"as_int": 3}}}
RESULT = [
    1,
    {
        "type": "builtins.dict",
        "context": '["scores", "best"]',
        "children_spec": [{"type": None, "context": None, "children_spec": []}] * 2,
    },
]


def value(dtype, *shape):
    return {
        "dtype": dtype,
        "sizes": [size if isinstance(size, dict) else {"as_int": size} for size in shape],
        "device": {"type": "cpu", "index": None},
    }


def document():
    """Return what torch 2.13 writes of a module with a weight, two arguments, one left at None, two results.

    tests/exporting/test_graph_exports.py reads archives that torch itself wrote.
    """
    tensors = {"p_weight": value(7, 3, 4), "table": value(7, BATCH, 4), "number": value(5, BATCH)}
    tensors |= {"softmax": value(7, BATCH, 3), "argmax": value(5, BATCH)}
    taken = [{"parameter": {"arg": {"name": "p_weight"}, "parameter_name": "weight"}}]
    taken += [{"user_input": {"arg": {"as_tensor": {"name": name}}}} for name in ("table", "number")]
    taken += [{"user_input": {"arg": {"as_none": True}}}]
    given = [{"user_output": {"arg": {"as_tensor": {"name": name}}}} for name in ("softmax", "argmax")]
    return {
        "graph_module": {
            "graph": {"tensor_values": tensors},
            "signature": {"input_specs": taken, "output_specs": given},
            "module_call_graph": [{"fqn": "", "signature": {"out_spec": json.dumps(RESULT)}}],
        },
        "torch_version": "2.13.0",
    }


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/models/model.json", json.dumps(document()))
        archive.writestr("m/data/weights/weight_0", bytes(48))
        archive.writestr("m/data/sample_inputs/model.pt", b"")
    return path


def edited(program, path, edit=None, drop=(), add=()):
    """Write the archive again with its program changed by `edit`, and entries dropped or added."""
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("models/model.json") and edit:
                changed = json.loads(content)
                edit(changed)
                content = json.dumps(changed).encode()
            if not any(part in name for part in drop):
                new.writestr(name, content)
        for name, content in add:
            new.writestr(name, content)
    return path


def test_program_described(program):
    with trust.granted():
        checkpoint = open_checkpoint(program)
    assert checkpoint.format == checkpoint.model_type == "exported_program"
    assert checkpoint.config["inputs"] == [
        {"name": "table", "data_type": "FP32", "dims": [4]},
        {"name": "number", "data_type": "INT64", "dims": [1]},
    ]
    assert checkpoint.config["outputs"] == [
        {"name": "scores", "data_type": "FP32", "dims": [3]},
        {"name": "best", "data_type": "INT64", "dims": [1]},
    ]
    assert checkpoint.config["batches"] is True
    assert checkpoint.config["weight_bytes"] == program.stat().st_size


def test_program_needs_trust(program):
    refused(program, "unpickles and evaluates", "--trust-pickle")
    with trust.granted(False):
        refused(program, "--trust-pickle")


def test_describing_a_program_runs_nothing_of_it(program, tmp_path):
    ran = tmp_path / "ran"
    bomb = f"cos\nsystem\n(S'touch {ran}'\ntR.".encode()
    path = edited(
        program, tmp_path / "m.pt2", drop=["sample_inputs"], add=[("m/data/sample_inputs/model.pt", bomb)]
    )
    with trust.granted():
        assert open_checkpoint(path).config["batches"]
    assert not ran.exists()


def sizes(told, name):
    return told["graph_module"]["graph"]["tensor_values"][name]["sizes"]


def test_a_batch_is_one_symbol_that_every_tensor_begins_with(program, tmp_path):
    other = {"as_expr": {"expr_str": "Symbol('s99', integer=True)"}}
    twice = {"as_expr": {"expr_str": "Mul(Integer(2), Symbol('s37', integer=True))"}}

    def read(edit):
        with trust.granted():
            return open_checkpoint(edited(program, tmp_path / "m.pt2", edit)).config

    assert read(None)["batches"]
    fixed = read(lambda told: sizes(told, "table").__setitem__(0, {"as_int": 3}))
    assert not fixed["batches"]
    assert fixed["inputs"][0]["dims"] == [3, 4]
    assert fixed["outputs"][0]["dims"] == [-1, 3]
    assert not read(lambda told: sizes(told, "table").__setitem__(0, other))["batches"]
    assert not read(lambda told: sizes(told, "table").__setitem__(0, twice))["batches"]

    def within(told):
        symbol = sizes(told, "table")[0]
        sizes(told, "table")[1] = symbol

    assert not read(within)["batches"]


def argument(kind, value):
    def edit(told):
        specs = told["graph_module"]["signature"]["output_specs"]
        specs[0] = {"user_output": {"arg": {kind: value}}}

    return edit


def device(told):
    told["graph_module"]["graph"]["tensor_values"]["table"]["device"]["type"] = "cuda"


def mutation(told):
    spec = told["graph_module"]["signature"]["output_specs"][0]
    told["graph_module"]["signature"]["output_specs"].insert(
        0, {"buffer_mutation": {"arg": spec["user_output"]["arg"]["as_tensor"], "buffer_name": "b"}}
    )


def complex_numbers(told):
    told["graph_module"]["graph"]["tensor_values"]["table"]["dtype"] = 9


def constant(told):
    specs = told["graph_module"]["signature"]["input_specs"]
    specs[-1] = {"constant_input": {"name": "factor", "value": {"as_float": 2.0}}}


def nothing(told):
    told["graph_module"]["signature"]["output_specs"] = []


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (argument("as_sym_int", {"as_name": "s"}), "a result is no tensor (sym_int)"),
        (constant, "the argument 'factor' is no tensor (float)"),
        (device, "exported on cuda"),
        (mutation, "changes a tensor of its own (buffer_mutation)"),
        (complex_numbers, "table has torch's scalar type 9"),
        (nothing, "takes 2 tensors and gives 0"),
        (lambda told: told.pop("graph_module"), "damaged"),
        (lambda told: told["graph_module"].pop("signature"), "damaged"),
    ],
)
def test_programs_that_are_refused(program, tmp_path, edit, said):
    path = edited(program, tmp_path / "m.pt2", edit)
    with trust.granted():
        refused(path, said)


def test_other_archives(program, tmp_path):
    path = tmp_path / "m.pt2"
    with trust.granted():
        edited(program, path, drop=["models"], add=[("m/data/aotinductor/m/m.so", b"")])
        refused(path, "compiled code")
        edited(program, path, drop=["models"], add=[("serialized_exported_program.json", b"{}")])
        refused(path, "older than 2.8")
        edited(program, path, add=[("m/models/second.json", b"{}")])
        refused(path, "2 programs")
        edited(program, path, drop=["models"])
        refused(path, "without a program")
        edited(program, path, drop=["models"], add=[("m/models/model.json", b"[]")])
        refused(path, "JSON list")
        edited(program, path, drop=["models"], add=[("m/models/model.json", b"{")])
        refused(path, "damaged")
        path.write_bytes(program.read_bytes()[:200])
        refused(path, "damaged")


@pytest.mark.parametrize(
    ("tree", "count", "names"),
    [
        ({"type": None, "context": None, "children_spec": []}, 1, ["output"]),
        (
            {"type": "builtins.tuple", "context": "null", "children_spec": [{}, {}]},
            2,
            ["output_0", "output_1"],
        ),
        (
            {"type": "builtins.dict", "context": '["b", "a"]', "children_spec": [{"children_spec": []}] * 2},
            2,
            ["b", "a"],
        ),
        # a tuple within the dict: its keys are fewer than the tensors
        (
            {"type": "builtins.dict", "context": '["b"]', "children_spec": [{"children_spec": [1, 2]}]},
            2,
            ["output_0", "output_1"],
        ),
    ],
)
def test_names_of_results(tree, count, names):
    from builder.exported_program import output_names

    assert output_names(json.dumps([1, tree]), count) == names


# --- both


def test_names_alone_decide_who_reads():
    for source, name in ((onnx, "m.onnx"), (onnx, "a/M.ONNX"), (exported_program, "m.pt2")):
        assert source.recognises(name)
    for source in (onnx, exported_program):
        assert not source.recognises("package:somebody/m.onnx")
        assert not source.recognises("package:somebody/m.pt2")
        assert not source.recognises("m.gguf")


def test_describing_imports_no_library(helper, program, tmp_path):
    graph = save(helper, tmp_path / "m.onnx", [("x", FLOAT, ["n"])], [("y", FLOAT, ["n"])])
    code = (
        "import sys; from builder import source, trust\n"
        "with trust.granted():\n"
        "    for name in sys.argv[1:]: source.open_checkpoint(name)\n"
        "assert not {'onnx', 'torch', 'numpy', 'google'} & set(sys.modules), set(sys.modules)"
    )
    root = Path(__file__).parent.parent.parent
    subprocess.run([sys.executable, "-c", code, str(graph), str(program)], check=True, cwd=root)
