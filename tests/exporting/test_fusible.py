"""What ONNX Runtime makes of a graph: the kernels that were meant, and the same numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import numpy_helper, parser  # noqa: E402

from builder.exporting import fusible  # noqa: E402

SIZE = 8
# what torch writes of gelu(linear(x)) and of a norm after a residual
BLOCK = f"""<ir_version: 9, opset_import: ["" : 18]>
block (float[rows, tokens, {SIZE}] x) => (float[rows, tokens, {SIZE}] y)
<float root = {{1.4142135}}, float one = {{1.0}}, float half = {{0.5}}>
{{
    product = MatMul (x, weight)
    up = Add (product, bias)
    part = Div (up, root)
    error = Erf (part)
    more = Add (error, one)
    share = Mul (half, more)
    active = Mul (up, share)
    residual = Add (active, x)
    y = LayerNormalization <axis = -1> (residual, norm, bias)
}}"""


def block() -> Any:
    chance = np.random.default_rng(0)
    model = parser.parse_model(BLOCK)
    for name, shape in {"weight": (SIZE, SIZE), "bias": (SIZE,), "norm": (SIZE,)}.items():
        value = chance.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    return model


def fused(model: Any, folder: Path) -> tuple[Counter[str], Any]:
    """Return the operators that are run, and the answer to one input."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "fused.onnx")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(1).normal(size=(2, 3, SIZE)).astype(np.float32)
    kinds = Counter(node.op_type for node in onnx.load(folder / "fused.onnx").graph.node)
    return kinds, session.run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("device", "runtime", "is_one"),
    [
        ("cpu", "1.30.0", False),
        ("cpu", "1.31.1", False),
        ("cpu", "2.0.0", False),
        ("cpu", "1.28.0", True),
        ("cpu", "1.9.0", True),
        ("gpu", "1.31.1", True),
    ],
)
def test_the_kernels_that_are_fastest(device: str, runtime: str, is_one: bool, tmp_path: Path) -> None:
    plain = block()
    _, expected = fused(plain, tmp_path)
    model = block()
    fusible.prepare(model, device, runtime)
    onnx.checker.check_model(model)
    kinds, found = fused(model, tmp_path)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert kinds["Gelu"] + kinds["BiasGelu"] == 1
    assert kinds["Erf"] == 0
    assert kinds["SkipLayerNormalization"] == int(is_one)
    assert kinds["LayerNormalization"] == int(not is_one)


def test_a_bias_before_a_norm_stays_an_addition() -> None:
    text = BLOCK.replace("residual = Add (active, x)", "residual = Add (active, bias)")
    model = parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(SIZE, np.float32), "bias"))
    fusible.prepare(model, "cpu", "1.31.1")
    assert "Sum" not in {node.op_type for node in model.graph.node}


def test_a_half_that_others_read_stays() -> None:
    text = BLOCK.replace("residual = Add (active, x)", "residual = Add (active, share)")
    model = parser.parse_model(text)
    before = [list(node.input) for node in model.graph.node]
    fusible.prepare(model, "gpu", "1.31.1")
    assert [list(node.input) for node in model.graph.node] == before
