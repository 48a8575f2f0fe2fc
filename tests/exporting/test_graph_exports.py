"""Bare graphs as they are written for Triton: the same answers as before, one file, nothing too new."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import parser  # noqa: E402

from builder import trust  # noqa: E402
from builder.errors import ConversionError, SourceError  # noqa: E402
from builder.exporting import exported_program, graph_file, onnx_graph  # noqa: E402
from builder.proving.originals import exported_program as program_original  # noqa: E402
from builder.proving.originals import onnx as graph_original  # noqa: E402
from builder.source import open_checkpoint  # noqa: E402

ROOT = Path(__file__).parent.parent.parent
ROWS = 5

# inputs and outputs of one number a row, one of which only a branch's own graph reads
NUMBERS = """
<ir_version: 9, opset_import: ["" : 18]>
numbers (float[batch, 3] table, int64[batch] number, float[batch] factor)
    => (float[batch, 3] moved, int64[batch] doubled)
{
    two = Constant <value_int = 2> ()
    doubled = Mul (number, two)
    rows = Shape <start = 0, end = 1> (table)
    zero = Constant <value_ints = [0]> ()
    some = Greater (rows, zero)
    any = Squeeze (some)
    scaled = If (any) <
        then_branch = yes () => (float[batch, 3] grown) {
            one = Constant <value_ints = [1]> ()
            column = Unsqueeze (factor, one)
            grown = Mul (table, column)
        },
        else_branch = no () => (float[batch, 3] same) { same = Identity (table) }
    >
    floats = Cast <to = 1> (number)
    last = Constant <value_ints = [1]> ()
    columns = Unsqueeze (floats, last)
    moved = Add (scaled, columns)
}
"""
FIXED = """
<ir_version: 9, opset_import: ["" : 18]>
fixed (float[2, 3] table, float by, string[length] words)
    => (float[2, 3] found, float top, string[length] back)
{
    found = Mul (table, by)
    top = ReduceMax <keepdims = 0> (found)
    back = Identity (words)
}
"""
OPEN = """
<ir_version: 9, opset_import: ["" : 18]>
open (int64[batch, length] ids, int64[batch, length] mask) => (int64[batch, length] kept)
{ kept = Mul (ids, mask) }
"""


def save(folder: Path, text: str, **fields: Any) -> Path:
    model = parser.parse_model(text)
    for name, value in fields.items():
        setattr(model, name, value)
    path = folder / "source.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def run(folder: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def agree(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].shape == values.shape
        assert found[name].dtype == values.dtype
        if values.dtype == object:
            assert (found[name] == values).all()
        else:
            np.testing.assert_allclose(found[name], values, atol=1e-6)


@pytest.mark.parametrize("text", [NUMBERS, OPEN], ids=["one number a row", "open"])
def test_graphs_that_batch(tmp_path: Path, text: str) -> None:
    path = save(tmp_path, text)
    config = open_checkpoint(path).config
    assert config["batches"]
    onnx_graph.export(path, tmp_path / "out")
    written = open_checkpoint(tmp_path / "out" / "model.onnx").config
    for side in ("inputs", "outputs"):
        assert written[side] == config[side]
    inputs = graph_original.samples(config, ROWS, seed=4)
    assert all(one.ndim > 1 for one in inputs.values())
    agree(run(tmp_path / "out", inputs), graph_original.load(path, config)(inputs))


def test_a_graph_that_does_not_batch(tmp_path: Path) -> None:
    path = save(tmp_path, FIXED)
    config = open_checkpoint(path).config
    assert [one["dims"] for one in config["inputs"]] == [[2, 3], [1], [-1]]
    assert [one["dims"] for one in config["outputs"]] == [[2, 3], [1], [-1]]
    onnx_graph.export(path, tmp_path / "out")
    inputs = graph_original.samples(config, ROWS, seed=4)
    expected = graph_original.load(path, config)(inputs)
    assert {name: one.shape for name, one in expected.items()} == {
        "found": (ROWS, 2, 3),
        "top": (ROWS, 1),
        "back": (ROWS, 8),
    }
    np.testing.assert_allclose(expected["found"], inputs["table"] * inputs["by"][:, :, None], rtol=1e-6)
    for row in range(ROWS):
        found = run(tmp_path / "out", {name: one[row] for name, one in inputs.items()})
        agree(found, {name: one[row] for name, one in expected.items()})


def test_nodes_stay_as_they_are(tmp_path: Path) -> None:
    path = save(tmp_path, OPEN)
    onnx_graph.export(path, tmp_path / "out")
    assert onnx.load(tmp_path / "out" / "model.onnx") == onnx.load(path)


@pytest.mark.parametrize(
    ("opset", "before", "after"), [(18, 13, 10), (18, 9, 9), (22, 11, 10), (23, 12, 12), (0, 12, 10)]
)
def test_ir_version_is_lowered_where_nothing_new_is_used(
    tmp_path: Path, opset: int, before: int, after: int
) -> None:
    model = parser.parse_model(OPEN)
    del model.opset_import[:]
    if opset:
        model.opset_import.append(onnx.helper.make_opsetid("", opset))
    else:
        del model.graph.node[:]
        model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 3))
        model.graph.output[0].name = "ids"
    model.ir_version = before
    graph_file.write(model, tmp_path)
    assert onnx.load(tmp_path / "model.onnx").ir_version == after


HEAVY = """
<ir_version: 9, opset_import: ["" : 18]>
heavy (float[batch, 64] x) => (float[batch, 64] y)
<float[64, 64] weight>
{ y = MatMul (x, weight) }
"""


def heavy(folder: Path) -> Path:
    """Write a graph whose weights lie in a file beside it."""
    model = parser.parse_model(HEAVY)
    weight = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    del model.graph.initializer[:]
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "weight"))
    path = folder / "source.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_weights_beside_the_graph_come_into_it(tmp_path: Path) -> None:
    path = heavy(tmp_path)
    checkpoint = open_checkpoint(path)
    assert [file.name for file in checkpoint.files] == ["source.onnx", "weights.bin"]
    onnx_graph.export(path, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["model.onnx"]
    inputs = graph_original.samples(checkpoint.config, ROWS, seed=4)
    agree(run(tmp_path / "out", inputs), graph_original.load(path, checkpoint.config)(inputs))
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(SourceError, match=r"weights\.bin"):
        onnx_graph.export(path, tmp_path / "out")


def test_weights_above_two_gibibytes_stay_beside_the_graph(tmp_path: Path) -> None:
    path = heavy(tmp_path)
    graph_file.write(onnx.load(path), tmp_path / "out", weight_bytes=graph_file.MOST_BYTES + 1)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [graph_file.NAME, graph_file.DATA]
    config = open_checkpoint(path).config
    assert len(open_checkpoint(tmp_path / "out" / "model.onnx").files) == 2
    inputs = graph_original.samples(config, ROWS, seed=4)
    agree(run(tmp_path / "out", inputs), graph_original.load(path, config)(inputs))


def test_a_graph_that_breaks_a_rule(tmp_path: Path) -> None:
    path = save(tmp_path, OPEN.replace("Mul (ids, mask)", "NoSuchOperator (ids, mask)"))
    with pytest.raises(ConversionError, match="NoSuchOperator") as caught:
        onnx_graph.export(path, tmp_path / "out")
    assert caught.value.remedy


def test_a_graph_that_breaks_off(tmp_path: Path) -> None:
    path = save(tmp_path, OPEN)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(SourceError, match="no whole ONNX file"):
        onnx_graph.export(path, tmp_path / "out")


def test_by_command(tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    asked = {"source": str(save(tmp_path, OPEN)), "out": str(tmp_path / "out"), "pipeline": "tensors"}
    request.write_text(json.dumps(asked))
    command = [sys.executable, "-m", "builder.exporting.onnx_graph", str(request)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    assert (tmp_path / "out" / "model.onnx").is_file()


# --- programs of torch.export


def save_program(torch: Any, path: Path, module: Any, arguments: Any, shapes: Any) -> Path:
    torch.export.save(torch.export.export(module.eval(), arguments, dynamic_shapes=shapes), path)
    return path


@pytest.fixture(scope="module")
def torch() -> Any:
    pytest.importorskip("onnxscript")
    return pytest.importorskip("torch")


@pytest.mark.filterwarnings("ignore")
def test_a_program_that_batches(tmp_path: Path, torch: Any) -> None:
    class Model(torch.nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 3)
            self.register_buffer("shift", torch.arange(3.0), persistent=False)

        def forward(self, table: Any, number: Any, extra: Any = None) -> Any:
            found = self.linear(table) + self.shift + number[:, None].float()
            return {"scores": found.softmax(-1), "best": found.argmax(-1)}

    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    arguments = (torch.randn(3, 4), torch.arange(3), None)
    path = save_program(torch, tmp_path / "m.pt2", Model(), arguments, (batch, batch, None))
    with trust.granted():
        config = open_checkpoint(path).config
    assert config["batches"]
    assert [(one["name"], one["dims"]) for one in config["inputs"]] == [("table", [4]), ("number", [1])]
    assert [(one["name"], one["dims"]) for one in config["outputs"]] == [("scores", [3]), ("best", [1])]
    assert config["torch_version"] == torch.__version__
    exported_program.export(path, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["model.onnx"]
    written = onnx.load(tmp_path / "out" / "model.onnx")
    assert (written.ir_version, graph_file.opset(written)) == (10, 18)
    for rows in (1, ROWS, 64):
        inputs = program_original.samples(config, rows, seed=4)
        agree(run(tmp_path / "out", inputs), program_original.load(path, config)(inputs))


@pytest.mark.filterwarnings("ignore")
def test_a_program_of_fixed_sizes(tmp_path: Path, torch: Any) -> None:
    class Model(torch.nn.Module):  # type: ignore[name-defined]
        def forward(self, first: Any, second: Any) -> Any:
            return first @ second, first.sum()

    path = save_program(torch, tmp_path / "m.pt2", Model(), (torch.randn(2, 3), torch.randn(3, 4)), None)
    with trust.granted():
        config = open_checkpoint(path).config
    assert not config["batches"]
    assert [(one["name"], one["dims"]) for one in config["outputs"]] == [
        ("output_0", [2, 4]),
        ("output_1", [1]),
    ]
    exported_program.export(path, tmp_path / "out")
    inputs = program_original.samples(config, ROWS, seed=4)
    expected = program_original.load(path, config)(inputs)
    for row in range(ROWS):
        found = run(tmp_path / "out", {name: one[row] for name, one in inputs.items()})
        agree(found, {name: one[row] for name, one in expected.items()})


@pytest.mark.filterwarnings("ignore")
def test_programs_that_cannot_be_written(tmp_path: Path, torch: Any) -> None:
    class Model(torch.nn.Module):  # type: ignore[name-defined]
        def forward(self, table: Any) -> Any:
            return torch.linalg.eigvals(table).real

    path = save_program(torch, tmp_path / "m.pt2", Model(), (torch.eye(3),), None)
    with pytest.raises(ConversionError, match="eig") as caught:
        exported_program.export(path, tmp_path / "out")
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()
