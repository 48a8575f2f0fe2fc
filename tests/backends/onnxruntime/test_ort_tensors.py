"""Graph against config: each refusal in the words of NVIDIA's backend, and what a config may leave out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest

from backends.onnxruntime import completion, sessions, tensors
from backends.onnxruntime.options import Options
from backends.onnxruntime.values import Refused


def loaded(folder: Path, model: Any, told: Options | None = None) -> Any:
    file = folder / "model.onnx"
    file.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return sessions.load(file, told or Options(intra_op_threads=1))


def entry(name: str, dims: list[int], kind: str = "FP32", **more: Any) -> dict[str, Any]:
    return {"name": name, "data_type": f"TYPE_{kind}", "dims": dims, **more}


def config(x: Any, y: Any, batch: int = 0, **more: Any) -> dict[str, Any]:
    made = {"name": "m", "max_batch_size": batch, "input": [x], "output": [y], **more}
    made["input"] = made["input"] + made.pop("also", [])
    return made


IDENTITY = graphs.identity(dims=["n", 4])
X, Y = entry("x", [4]), entry("y", [4])
WHOLE = entry("x", [-1, 4]), entry("y", [-1, 4])
CONTROL = {"kind": "CONTROL_SEQUENCE_START", "int32_false_true": [0, 1]}


def controlled(name: str, **control: Any) -> dict[str, Any]:
    return {"sequence_batching": {"control_input": [{"name": name, "control": [control or CONTROL]}]}}


def two(kind: int = graphs.INT32, dims: graphs.Dims = ("n", 1)) -> Any:
    nodes = [graphs.node("Identity", "x", "y"), graphs.node("Identity", "start", "z")]
    return graphs.graph(
        nodes,
        [graphs.tensor("x", graphs.FLOAT, ["n", 4]), graphs.tensor("start", kind, dims)],
        [graphs.tensor("y", graphs.FLOAT, ["n", 4]), graphs.tensor("z", kind, dims)],
    )


ACCEPTED = [
    (IDENTITY, config(X, Y, 8)),
    (IDENTITY, config(*WHOLE)),
    (IDENTITY, config(entry("x", [3, 4]), entry("y", [-1, 4]))),
    (IDENTITY, config(entry("x", [2, 2], reshape={"shape": ["4"]}), Y, 8)),
    (graphs.identity(dims=["n"]), config(entry("x", [1], reshape={}), entry("y", [1], reshape={}), 8)),
    (graphs.identity(dims=[]), config(entry("x", [1]), entry("y", [1, 1]))),
    (graphs.identity(graphs.TEXT), config(entry("x", [-1], "STRING"), entry("y", [-1], "STRING"), 8)),
    (graphs.add(), config(entry("a", [4]), entry("total", [4]), 8, also=[entry("b", [4])])),
    (graphs.scaled(), config(entry("x", [-1]), entry("y", [-1]), also=[entry("w", [1], optional=True)])),
    (graphs.scaled(), config(entry("x", [-1]), entry("y", [-1]))),
    (two(), config(X, Y, 8, **controlled("start"))),
    (two(graphs.INT64), config(X, Y, 8, **controlled("start", kind="CORRID", data_type="TYPE_INT64"))),
]


@pytest.mark.parametrize(("model", "told"), ACCEPTED)
def test_accepted(model: Any, told: dict[str, Any], tmp_path: Path) -> None:
    tensors.require_same(told, tensors.graph(loaded(tmp_path, model)))


REFUSED = [
    (
        graphs.add(),
        config(X, Y),
        "unable to load model 'm', configuration expects 1 inputs, model provides 2",
    ),
    (
        IDENTITY,
        config(X, Y, also=[entry("z", [4])]),
        "unable to load model 'm', configuration expects 2 inputs, model provides 1",
    ),
    (
        graphs.scaled(),
        config(entry("x", [-1]), entry("y", [-1]), also=[entry("w", [1])]),
        "unable to load model 'm', configuration expects 2 inputs, model provides 1",
    ),
    (IDENTITY, config(entry("z", [4]), Y, 8), "unexpected inference input 'z', allowed inputs are: x"),
    (
        graphs.add(),
        config(entry("a", [4]), entry("q", [4]), 8, also=[entry("b", [4])]),
        "unexpected inference output 'q', allowed outputs are: difference, total",
    ),
    (
        IDENTITY,
        config(entry("x", [4], "INT32"), Y, 8),
        "unable to load model 'm', configuration expects datatype TYPE_INT32 for input 'x', model provides "
        "TYPE_FP32",
    ),
    (
        graphs.identity(graphs.TEXT),
        config(entry("x", [-1], "STRING"), entry("y", [-1], "FP64"), 8),
        "unable to load model 'm', configuration expects datatype TYPE_FP64 for output 'y', model provides "
        "TYPE_BYTES",
    ),
    (
        graphs.identity(graphs.BRAIN, ["n", 4]),
        config(entry("x", [4], "BF16"), entry("y", [4], "BF16"), 8),
        "unsupported datatype TYPE_BF16 for input 'x' for model 'm'",
    ),
    (
        graphs.scaled(),
        config(entry("x", [-1]), entry("y", [-1]), 8, also=[entry("w", [1], optional=True)]),
        "model 'm', tensor 'x': the model expects 1 dimensions (shape [-1]) but the model configuration "
        "specifies 2 dimensions (an initial batch dimension because max_batch_size > 0 followed by "
        "the explicit "
        "tensor shape, making complete shape [-1,-1])",
    ),
    (
        graphs.scaled(),
        config(
            entry("x", [1], reshape={}),
            entry("y", [1], reshape={}),
            8,
            also=[entry("w", [1], optional=True)],
        ),
        "unable to load model 'm', optional input 'w' is not supported for models that support batching",
    ),
    (
        IDENTITY,
        config(entry("x", [5]), Y, 8),
        "model 'm', tensor 'x': the model expects 2 dimensions (shape [-1,4]) but the model configuration "
        "specifies 2 dimensions (an initial batch dimension because max_batch_size > 0 followed by "
        "the explicit "
        "tensor shape, making complete shape [-1,5])",
    ),
    (
        IDENTITY,
        config(entry("x", [-1, 4]), entry("y", [3, 4])),
        "model 'm', tensor 'y': the model expects 2 dimensions (shape [-1,4]) but the model configuration "
        "specifies 2 dimensions (shape [3,4])",
    ),
    (
        graphs.identity(dims=[1, 4]),
        config(X, Y, 8),
        "model 'm', tensor 'x': for the model to support batching the shape should have at least 1 "
        "dimension and "
        "the first dimension must be -1; but shape expected by the model is [1,4]",
    ),
    (
        graphs.identity(dims=[]),
        config(entry("x", [2]), entry("y", [1])),
        "unable to load model 'm', scalar tensor 'x', should only provide 1 in the model "
        "configuration when the "
        "model doesn't support batching. Model configuration provided: [2].",
    ),
    (
        IDENTITY,
        config(entry("x", [-1], allow_ragged_batch=True), Y, 8),
        "unable to load model 'm', configuration expects model provides input with shape [-1]  for "
        "ragged input "
        "'x', model provides [-1,4]",
    ),
    (
        graphs.scaled(),
        config(
            entry("x", [-1]), entry("y", [-1]), also=[entry("w", [1], optional=True, allow_ragged_batch=True)]
        ),
        "unable to load model 'm', configuration expects model provides input with shape [-1] for "
        "ragged input "
        "'w', which is not supported for optional input",
    ),
    (
        IDENTITY,
        config(X, Y, 8, **controlled("start")),
        "configuration specified sequence control 'start', but model does not provide that input",
    ),
    (
        two(dims=["n", 2]),
        config(X, Y, 8, **controlled("start")),
        "unable to load model 'm', sequence control 'start' in model has dims [2] but dims [1] is expected",
    ),
    (
        two(),
        config(X, Y, 8, **controlled("start", kind="CONTROL_SEQUENCE_END", bool_false_true=[False, True])),
        "unable to load model 'm', sequence control 'start', the model expects data-type INT32 but the model "
        "configuration specifies data-type TYPE_BOOL",
    ),
    (
        two(),
        config(X, Y, 8, sequence_batching={"state": [{"input_name": "start", "output_name": "z"}]}),
        "unable to load model 'm', state 'start': Triton keeps no implicit state for a backend in "
        "Python; serve "
        "it by a container",
    ),
    (
        IDENTITY,
        config(X, Y, 8, model_transaction_policy={"decoupled": True}),
        "unable to load model 'm', a graph answers once: it is not decoupled",
    ),
]


@pytest.mark.parametrize(("model", "told", "words"), REFUSED)
def test_refused(model: Any, told: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        tensors.require_same(told, tensors.graph(loaded(tmp_path, model)))
    assert str(refusal.value) == words


def test_a_flat_output_has_other_dims_than_the_config(tmp_path: Path) -> None:
    scatter = {"target_name": ["y"], "kind": "BATCH_SCATTER_WITH_INPUT_SHAPE", "source_input": ["x"]}
    ragged = entry("x", [-1, -1], allow_ragged_batch=True)
    told = config(ragged, entry("y", [-1, -1]), 8, batch_output=[scatter])
    tensors.require_same(told, tensors.graph(loaded(tmp_path, graphs.identity(dims=["k"]))))


def test_what_is_no_tensor(tmp_path: Path) -> None:
    from onnx import helper

    output = helper.make_tensor_sequence_value_info("y", graphs.FLOAT, None)
    model = graphs.graph(
        [graphs.node("SequenceConstruct", "x", "y")], [graphs.tensor("x", graphs.FLOAT, [2])], [output]
    )
    with pytest.raises(Refused) as refusal:
        tensors.graph(loaded(tmp_path, model))
    expected = "Unsupported ONNX Type 'ONNX_TYPE_SEQUENCE' for I/O 'y', expected 'ONNX_TYPE_TENSOR'."
    assert str(refusal.value) == expected


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"^onnx runtime error 7: Load model from .*Protobuf parsing failed"):
        loaded(tmp_path, b"This is no ONNX")


def test_a_provider_that_is_not_there(tmp_path: Path) -> None:
    told = Options(providers=(("SteamExecutionProvider", {}),))
    with pytest.raises(Refused, match=r"^SteamExecutionProvider is not in this onnxruntime, which has "):
        loaded(tmp_path, IDENTITY, told)


def test_operators_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"^onnx runtime error 1: Failed to load library /nowhere\.so"):
        loaded(tmp_path, IDENTITY, Options(operators=("/nowhere.so",)))


def test_every_option_reaches_a_session(tmp_path: Path) -> None:
    told = Options(
        intra_op_threads=1,
        inter_op_threads=1,
        parallel=True,
        memory_arena=False,
        memory_pattern=False,
        graph_level="ORT_DISABLE_ALL",
        entries={"session.use_device_allocator_for_initializers": "1"},
        run_entries={"memory.enable_memory_arena_shrinkage": ""},
    )
    session = loaded(tmp_path, IDENTITY, told)
    found = session.get_session_options()
    assert (found.intra_op_num_threads, found.inter_op_num_threads) == (1, 1)
    assert (found.enable_cpu_mem_arena, found.enable_mem_pattern) == (False, False)
    x = np.ones((1, 4), np.float32)
    assert (session.run(["y"], {"x": x}, sessions.run_options(told))[0] == x).all()


def test_where_a_graph_lies(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    (folder / "other").mkdir(parents=True)
    told = {"name": "m", "default_model_filename": ""}
    with pytest.raises(Refused) as refusal:
        sessions.path(str(tmp_path), "1", told)
    assert str(refusal.value) == f"unable to find '{folder}/model.onnx' for model instance 'm'"
    for place in ("model.onnx", "other/model.onnx"):
        (folder / place).touch()
        told["default_model_filename"] = place.split("/")[0]
        assert sessions.path(str(tmp_path), "1", told) == folder / place


def test_a_run_that_fails_says_it_as_the_backend_does(tmp_path: Path) -> None:
    session = loaded(tmp_path, IDENTITY)
    with pytest.raises(Exception, match="ONNXRuntimeError") as failure:
        session.run(["y"], {"x": np.ones((1, 5), np.float32)})
    said = sessions.problem(failure.value)
    assert said.startswith("onnx runtime error 2: Got invalid dimensions for input: x")
    assert sessions.problem(ValueError("plain")) == "plain"


def test_text_is_fed_as_str_and_numbers_as_they_are() -> None:
    numbers = np.ones(3, np.float16)
    assert sessions.fed("x", numbers) is numbers
    text = sessions.fed("x", np.array([[b"a\0b", "é".encode()], ["已", b""]], object))
    assert text.tolist() == [["a\0b", "é"], ["已", ""]]
    assert sessions.fed("x", np.array([], object).reshape(0, 2)).shape == (0, 2)
    with pytest.raises(
        ValueError, match=r"^input 'x' is not valid UTF-8: 'utf-8' codec can't decode byte 0xff"
    ):
        sessions.fed("x", np.array([b"fine", b"\xff"], object))


class Found:
    """The ModelConfig that the Python backend hands over to be completed, as far as it is used."""

    def __init__(self, **told: Any) -> None:
        self.told = {"name": "m", "max_batch_size": 0, "input": [], "output": [], **told}

    def as_dict(self) -> dict[str, Any]:
        return self.told

    def set_max_batch_size(self, size: int) -> None:
        self.told["max_batch_size"] = size

    def set_dynamic_batching(self) -> None:
        self.told.setdefault("dynamic_batching", {})


def completed(folder: Path, model: Any, **told: Any) -> dict[str, Any]:
    (folder / "1").mkdir()
    (folder / "1" / "model.onnx").write_bytes(model.SerializeToString())
    found = Found(**told)
    completion.complete(found, completion.read(folder / "1", found.as_dict()))
    return found.told


def test_a_graph_whose_first_dims_are_open_is_made_to_batch(tmp_path: Path) -> None:
    told = completed(tmp_path, graphs.add())
    assert (told["max_batch_size"], told["dynamic_batching"]) == (4, {})
    assert told["input"] == [entry("a", [4]), entry("b", [4])]
    assert told["output"] == [entry("total", [4]), entry("difference", [4])]


def test_what_a_config_says_stays(tmp_path: Path) -> None:
    told = completed(tmp_path, IDENTITY, max_batch_size=1, input=[X])
    assert told["input"] == [X] and told["output"] == [Y]
    assert told["max_batch_size"] == 1 and "dynamic_batching" not in told


def test_a_sequence_model_gets_no_second_scheduler(tmp_path: Path) -> None:
    assert "dynamic_batching" not in completed(tmp_path, IDENTITY, sequence_batching={})


def test_rows_without_dims_need_an_empty_reshape(tmp_path: Path) -> None:
    told = completed(tmp_path, graphs.identity(graphs.INT64, ["n"]))
    assert told["input"] == [entry("x", [1], "INT64", reshape={"shape": []})]


def test_a_graph_of_fixed_dims_does_not_batch(tmp_path: Path) -> None:
    told = completed(tmp_path, graphs.identity(dims=[]))
    assert told["max_batch_size"] == 0 and told["input"] == [entry("x", [1])]


def test_a_graph_of_fixed_dims_cannot_be_told_to_batch(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        completed(tmp_path, graphs.identity(dims=[2, 4]), max_batch_size=8)
    assert str(refusal.value) == (
        "autofill failed for model 'm': model does not support batching while non-zero max_batch_size is "
        "specified"
    )


def test_a_type_that_triton_cannot_carry_is_not_filled_in(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"'x' is a tensor\(bfloat16\), which Triton does not carry here"):
        completed(tmp_path, graphs.identity(graphs.BRAIN))


@pytest.mark.parametrize(
    ("told", "whole"),
    [
        ({}, False),
        ({"input": [X]}, False),
        ({"output": [Y]}, False),
        ({"input": [X], "output": [Y]}, True),
        ({"batch_input": [{}], "output": [Y]}, True),
    ],
)
def test_only_a_config_that_lacks_something_is_completed(told: dict[str, Any], whole: bool) -> None:
    assert completion.is_whole(told) is whole
