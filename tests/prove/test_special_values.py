"""Values that a random draw never meets are among those that a model of a table is proven by."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("onnxmltools")
onnxruntime = pytest.importorskip("onnxruntime")
pandas = pytest.importorskip("pandas")

from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: E402

from builder import house, trust  # noqa: E402
from builder.proving import parity  # noqa: E402
from builder.proving.sample import Array, Asked, Samples  # noqa: E402
from builder.proving.samples import columns  # noqa: E402
from builder.quantizations.fp32 import QUANTIZATION  # noqa: E402
from builder.source import open_checkpoint  # noqa: E402

# converters warn of what they do not need
pytestmark = pytest.mark.filterwarnings("ignore")

RANDOM = np.random.default_rng(9)
NUMBERS = RANDOM.normal(size=(300, 3)).astype(np.float32)
NUMBERS[::3, 0] = 0
TWO = (NUMBERS[:, 0] + NUMBERS[:, 1] > 0).astype(int)


def proven(folder: Path, source: Any, served: Any) -> tuple[Samples, float]:
    """Prove the graph of one model by another as its source; return the samples and the largest error."""
    paths = {name: folder / f"{name}.pkl" for name in ("source", "served")}
    for name, model in (("source", source), ("served", served)):
        paths[name].write_bytes(pickle.dumps(model))
    with trust.granted():
        config = open_checkpoint(paths["source"]).config
    house.plugin("exporting", config["model_type"], option="model_type").export(
        paths["served"], folder / "out"
    )
    names = [one["name"] for one in config["outputs"]]
    asked = Asked(
        name="mine", pipeline="tabular", samples="columns", exporter=config["model_type"],
        model_type=config["model_type"], main="probabilities" if "probabilities" in names else "prediction",
        model=folder / "out", tokenizer=folder, source=paths["source"], config=config, settings={},
        truncates=False, max_batch_size=8, provider="cpu", out=folder,
    )  # fmt: skip
    found = columns.samples(asked)
    session = onnxruntime.InferenceSession(folder / "out" / "model.onnx")
    return found, max(row["error"] for row in parity.compare(session, columns, found, asked))


def drawn(found: Samples, name: str = "features") -> Array:
    return np.concatenate([case.given[name] for case in found.cases])


def test_the_number_for_absent_values_is_drawn(tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    table = np.where(RANDOM.random(NUMBERS.shape) < 0.2, -999, NUMBERS)
    right = xgboost.XGBClassifier(n_estimators=5, missing=-999).fit(table, table[:, 0] == -999)
    found, error = proven(tmp_path, right, right)
    assert error <= QUANTIZATION.tolerance.error
    assert ((drawn(found) == -999).sum(0) > 5).all()
    # the same trees, without what was told of absent values
    forgetful = pickle.loads(pickle.dumps(right)).set_params(missing=np.nan)
    _, error = proven(tmp_path, right, forgetful)
    assert error > 0.1


def test_zero_gaps_and_thresholds_are_drawn(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=4, verbose=-1, num_threads=1).fit(NUMBERS, TWO)
    found, error = proven(tmp_path, model, model)
    assert error <= QUANTIZATION.tolerance.error
    table = drawn(found)
    assert ((table == 0).sum(0) > 5).all()
    assert (np.isnan(table).sum(0) > 5).all()
    thresholds = {
        np.float32(node["threshold"])
        for node in model.booster_.trees_to_dataframe().dropna(subset="threshold").to_dict("records")
    }
    assert len(thresholds & set(table.ravel())) > 5


def test_what_the_source_refuses_is_not_drawn(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(NUMBERS, TWO)
    found, error = proven(tmp_path, model, model)
    assert error <= QUANTIZATION.tolerance.error
    assert not np.isnan(drawn(found)).any()
    assert ((drawn(found) == 0).sum(0) > 5).all()


def test_each_column_is_drawn_by_what_it_takes(tmp_path: Path) -> None:
    city = np.array(["Paris", "Rom"], object)[TWO]
    table = pandas.DataFrame({"filled": NUMBERS[:, 0], "whole": NUMBERS[:, 1], "city": city, "strict": city})
    first = ColumnTransformer(
        [
            ("filled", SimpleImputer(), ["filled"]),
            ("whole", StandardScaler(), ["whole"]),
            ("city", OneHotEncoder(handle_unknown="ignore"), ["city"]),
            ("strict", OneHotEncoder(), ["strict"]),
        ]
    )
    model = make_pipeline(first, LogisticRegression()).fit(table, TWO)
    found, error = proven(tmp_path, model, model)
    assert error <= QUANTIZATION.tolerance.error
    assert np.isnan(drawn(found, "filled")).any()
    assert not np.isnan(drawn(found, "whole")).any()
    assert {"", "None", "Paris", "Rom"} < set(drawn(found, "city").ravel())
    assert set(drawn(found, "strict").ravel()) == {"Paris", "Rom"}


def test_what_is_asked_of_the_served_model_is_in_json(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=4, verbose=-1, num_threads=1).fit(NUMBERS, TWO)
    found, _ = proven(tmp_path, model, model)
    assert np.isfinite([ask["inputs"]["features"] for ask in found.asks]).all()
