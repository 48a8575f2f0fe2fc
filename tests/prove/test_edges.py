"""Rows beside thresholds: found to the last step, and what tells a graph in float32 from its source."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # noqa: E402

from builder import trust  # noqa: E402
from builder.exporting import graph_file, tables  # noqa: E402
from builder.exporting import sklearn as exporter  # noqa: E402
from builder.proving import edges, parity  # noqa: E402
from builder.proving.sample import Asked  # noqa: E402
from builder.proving.samples import columns  # noqa: E402
from builder.quantizations.fp32 import QUANTIZATION  # noqa: E402
from builder.source import open_checkpoint  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

TOLERANCE = QUANTIZATION.tolerance.error
CHANCE = np.random.default_rng(3)


def column(data_type: str, **more: Any) -> dict[str, Any]:
    return {"name": "x", "data_type": data_type, "dims": [1], **more}


@pytest.mark.parametrize("threshold", [0.3, -7e8, 1e-3])
def test_a_threshold_is_found_to_the_last_step_of_float32(threshold: float) -> None:
    rows = {"x": np.float32(threshold) * CHANCE.uniform(0, 2, (40, 1)).astype(np.float32)}
    found = edges.beside(rows, [column("FP32")], lambda given: (given["x"] <= threshold).astype(np.int64))[
        "x"
    ]
    low, high = found[::2, 0], found[1::2, 0]
    assert len(low) > 5
    assert np.array_equal(np.nextafter(low, high), high)
    assert ((low <= threshold) != (high <= threshold)).all()


def test_a_threshold_in_float64_is_found_far_below_float32() -> None:
    rows = {"x": CHANCE.uniform(1.7e9, 1.7e9 + 3600, (40, 1))}
    found = edges.beside(rows, [column("FP64")], lambda given: given["x"] <= 1.7e9 + 1234.5)["x"]
    assert len(found) > 5
    assert (np.abs(found - (1.7e9 + 1234.5)) < 0.01).all()
    assert ((found[::2] <= 1.7e9 + 1234.5) != (found[1::2] <= 1.7e9 + 1234.5)).all()


def test_what_has_no_threshold_has_no_rows_beside_it() -> None:
    rows = {"x": CHANCE.normal(size=(40, 1)), "city": CHANCE.choice(np.array(["a", "b"], object), (40, 1))}
    inputs = [column("FP64"), {"name": "city", "data_type": "STRING", "dims": [1], "categories": ["a", "b"]}]
    smooth = edges.beside(rows, inputs, lambda given: np.tanh(given["x"]))
    assert [len(one) for one in smooth.values()] == [0, 0]
    # nothing lies between two categories, or beside what is absent
    assert not len(edges.beside(rows, inputs, lambda given: (given["city"] == "a").astype(int))["x"])
    rows["x"][:] = np.nan
    assert not len(edges.beside(rows, inputs, lambda given: np.isnan(given["x"]))["x"])


def proven(folder: Path, model: Any, *, exact: bool) -> tuple[Any, float]:
    """Prove a model by its graph, as it is exported or, not `exact`, all in float32."""
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    with trust.granted():
        config = open_checkpoint(path).config
    if exact:
        exporter.export(path, folder / "out")
    else:
        graph = exporter.convert(model, config, merged=True, exact=False)
        graph_file.write(tables.finish(graph, config, merged=True), folder / "out")
    main = "probabilities" if config["kind"] == "classifier" else "prediction"
    asked = Asked(
        name="mine", pipeline="tabular", samples="columns", exporter="sklearn", model_type="sklearn",
        main=main, model=folder / "out", tokenizer=folder, source=path, config=config, settings={},
        truncates=False, max_batch_size=8, provider="cpu", out=folder,
    )  # fmt: skip
    found = columns.samples(asked)
    session = onnxruntime.InferenceSession(folder / "out" / "model.onnx")
    return found, max(row["error"] for row in parity.compare(session, columns, found, asked))


NUMBERS = CHANCE.normal(size=(300, 3)) + 5
CLASSES = np.digitize(NUMBERS[:, 0] * NUMBERS[:, 1], [20, 30])
MODELS = {
    "tree": (DecisionTreeClassifier(random_state=0), CLASSES),
    "forest": (RandomForestClassifier(5, random_state=0), CLASSES),
    "numbers": (DecisionTreeRegressor(random_state=0), NUMBERS[:, 2] * 1e6),
}


@pytest.mark.parametrize(("last", "target"), MODELS.values(), ids=MODELS)
def test_a_scaler_in_float32_before_trees_fails_the_proof(tmp_path: Path, last: Any, target: Any) -> None:
    model = make_pipeline(StandardScaler(), last).fit(NUMBERS, target)
    for exact in (True, False):
        folder = tmp_path / str(exact)
        folder.mkdir()
        found, worst = proven(folder, model, exact=exact)
        assert sum("beside a threshold" in one.id for one in found.cases) > 30
        assert (worst <= TOLERANCE) is exact


def test_trees_alone_are_proven_beside_their_thresholds(tmp_path: Path) -> None:
    found, worst = proven(
        tmp_path, RandomForestClassifier(5, random_state=0).fit(NUMBERS, CLASSES), exact=True
    )
    assert sum("beside a threshold" in one.id for one in found.cases) > 30
    assert worst <= TOLERANCE


def test_scores_have_no_thresholds_to_search(tmp_path: Path) -> None:
    found, worst = proven(
        tmp_path, make_pipeline(StandardScaler(), LogisticRegression()).fit(NUMBERS, CLASSES), exact=True
    )
    assert not any("beside a threshold" in one.id for one in found.cases)
    assert worst <= TOLERANCE
