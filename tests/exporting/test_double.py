"""Steps before an estimator: a graph computes them in float64, as scikit-learn does."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pandas = pytest.importorskip("pandas")
pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")

from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.decomposition import PCA, TruncatedSVD  # noqa: E402
from sklearn.ensemble import (  # noqa: E402
    BaggingClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest, VarianceThreshold  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LogisticRegression, Ridge  # noqa: E402
from sklearn.pipeline import make_pipeline, make_union  # noqa: E402
from sklearn.preprocessing import (  # noqa: E402
    Binarizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier  # noqa: E402

from builder import trust  # noqa: E402
from builder.exporting import lightgbm as lightgbm_exporter  # noqa: E402
from builder.exporting import sklearn as exporter  # noqa: E402
from builder.source import open_checkpoint  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

CLOSE = 1e-5
ROWS = 600
KINDS = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "STRING": object}


def served(folder: Path, model: Any, table: Any) -> tuple[dict[str, Any], Any]:
    """Return what the graph answers to a table's rows, and the graph; inputs are of the types it asks for."""
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    with trust.granted():
        config = open_checkpoint(path).config
    made_by = exporter if config["model_type"] == "sklearn" else lightgbm_exporter
    made_by.export(path, folder / "out")
    inputs = {
        one["name"]: (table if one["name"] == "features" else table[[one["name"]]].to_numpy()).astype(
            KINDS[one["data_type"]]
        )
        for one in config["inputs"]
    }
    session = onnxruntime.InferenceSession(folder / "out" / "model.onnx")
    names = [one["name"] for one in config["outputs"]]
    found = dict(zip(names, session.run(names, inputs), strict=True))
    return found, onnx.load(folder / "out" / "model.onnx")


def same(found: dict[str, Any], model: Any, table: Any) -> None:
    """Every row's class is the source's, and every number within CLOSE of it."""
    if "probabilities" not in found:
        wanted = model.predict(table)
        assert np.abs(found["prediction"].ravel() - wanted).max() <= CLOSE * np.ptp(wanted)
        return
    assert (found["prediction"].ravel() == model.predict(table)).all()
    assert np.abs(found["probabilities"] - model.predict_proba(table)).max() <= CLOSE
    assert found["probabilities"].min() >= 0
    assert found["probabilities"].max() <= 1


def people() -> tuple[Any, Any]:
    """Return a table of a mainstream sort, with gaps, and what is to be told of it."""
    chance = np.random.default_rng(0)
    table = pandas.DataFrame(
        {
            "age": chance.integers(18, 80, ROWS),
            "annual income": chance.normal(5e4, 2e4, ROWS),
            "city": chance.choice(np.array(["Rome", "Bari", "New York"], object), ROWS),
        }
    )
    chance.choice([True, False], ROWS)
    table.loc[::17, "annual income"] = np.nan
    return table, np.where((table["age"] > 40) ^ (table["city"] == "Bari"), "yes", "no")


def test_a_forest_after_a_scaler_answers_the_rows_it_learned(tmp_path: Path) -> None:
    table, target = people()
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    first = ColumnTransformer(
        [
            ("numbers", numbers, ["age", "annual income"]),
            ("city", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ]
    )
    model = make_pipeline(first, RandomForestClassifier(30, max_depth=6, random_state=0)).fit(table, target)
    found, _ = served(tmp_path, model, table)
    same(found, model, table)


def seconds() -> tuple[Any, Any]:
    """Return a table with a time, and a target that turns with it every five minutes."""
    chance = np.random.default_rng(1)
    table = pandas.DataFrame(
        {"ts": 1.7e9 + chance.integers(0, 3600, ROWS).astype(float), "v": chance.normal(size=ROWS)}
    )
    return table, ((table["ts"] - 1.7e9) % 600 > 300).astype(int)


@pytest.mark.parametrize("last", [DecisionTreeClassifier, RandomForestClassifier], ids=["tree", "forest"])
def test_seconds_of_a_year_that_float32_cannot_hold(tmp_path: Path, last: Any) -> None:
    """Beside each other they are 128 s apart in float32."""
    table, target = seconds()
    model = make_pipeline(StandardScaler(), last(random_state=0)).fit(table, target)
    found, graph = served(tmp_path, model, table)
    same(found, model, table)
    assert {one.type.tensor_type.elem_type for one in graph.graph.input} == {onnx.TensorProto.DOUBLE}


def test_trees_that_compare_in_float64(tmp_path: Path) -> None:
    """After a scaler their thresholds have bits that float32 has not."""
    lightgbm = pytest.importorskip("lightgbm")
    chance = np.random.default_rng(4)
    table = pandas.DataFrame({"x": np.sort(chance.normal(size=ROWS)), "v": chance.normal(size=ROWS)})
    target = np.digitize(table["x"], [-0.5, 0.0, 0.5])
    models = {
        "histograms": HistGradientBoostingClassifier(max_iter=5),
        "numbers": HistGradientBoostingRegressor(max_iter=5),
        "lightgbm": lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, num_threads=1),
        "lightgbm-numbers": lightgbm.LGBMRegressor(n_estimators=5, verbose=-1, num_threads=1),
    }
    for name, last in models.items():
        folder = tmp_path / name
        folder.mkdir()
        model = make_pipeline(StandardScaler(), last).fit(table, target)
        scaler = model[0]
        splits = _thresholds(last)
        near = [[np.nextafter(one, -9), one, np.nextafter(one, 9)] for one in splits]
        beside = np.ravel(near) * scaler.scale_[0] + scaler.mean_[0]
        rows = pandas.DataFrame({"x": beside, "v": np.zeros(len(beside))})
        found, _ = served(folder, model, rows)
        same(found, model, rows)
        assert len(set(found["prediction"].ravel())) > 1


def _thresholds(model: Any) -> list[float]:
    """Return the thresholds on the first column of a boosted model."""
    if hasattr(model, "_predictors"):
        trees = [one.nodes for iteration in model._predictors for one in iteration]
        nodes = [one for tree in trees for one in tree if not one["is_leaf"]]
        return [one["num_threshold"] for one in nodes if one["feature_idx"] == 0]
    waiting = [one["tree_structure"] for one in model.booster_.dump_model()["tree_info"]]
    found = []
    while waiting:
        node = waiting.pop()
        if "left_child" in node:
            waiting += [node["left_child"], node["right_child"]]
            if node["split_feature"] == 0:
                found.append(node["threshold"])
    return found


def test_seconds_of_a_year_for_trees_of_float64_alone(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    table, target = seconds()
    models = {
        "histograms": HistGradientBoostingClassifier(max_iter=9),
        "lightgbm": lightgbm.LGBMClassifier(n_estimators=9, verbose=-1, num_threads=1),
    }
    for name, last in models.items():
        folder = tmp_path / name
        folder.mkdir()
        model = last.fit(table, target)
        found, graph = served(folder, model, table)
        same(found, model, table)
        assert onnx.TensorProto.DOUBLE in {one.type.tensor_type.elem_type for one in graph.graph.input}


NUMBERS = np.random.default_rng(7).normal(size=(ROWS, 4)).astype(np.float32).astype(np.float64)
CLASSES = np.digitize(NUMBERS[:, 0] + NUMBERS[:, 1] * NUMBERS[:, 2], [-0.5, 0.5])
STEPS = {
    "standard": StandardScaler(),
    "without mean": StandardScaler(with_mean=False),
    "least and most": MinMaxScaler(clip=True),
    "largest": MaxAbsScaler(),
    "robust": RobustScaler(),
    "polynomial": PolynomialFeatures(3),
    "products alone": PolynomialFeatures(2, interaction_only=True, include_bias=False),
    "components": PCA(3, whiten=True),
    "truncated": TruncatedSVD(2),
    "ranks": QuantileTransformer(n_quantiles=20),
    "two values": make_union(Binarizer(threshold=0.1), StandardScaler()),
    "chosen": make_pipeline(VarianceThreshold(), SelectKBest(k=2), StandardScaler()),
    "filled": make_pipeline(SimpleImputer(strategy="median"), MinMaxScaler()),
    "filled for a number": make_pipeline(SimpleImputer(missing_values=0.0), StandardScaler()),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_steps_run_in_float64(tmp_path: Path, step: Any) -> None:
    # far from zero, where float32 has but sixteenths of what lies between
    table = 1e6 + NUMBERS
    table[::9, 1] = 0.0
    model = make_pipeline(step, DecisionTreeClassifier(random_state=0)).fit(table, CLASSES)
    found, graph = served(tmp_path, model, table)
    same(found, model, table)
    reads = {one.type.tensor_type.elem_type for one in graph.graph.input}
    widens = {one.attribute[0].i for one in graph.graph.node if one.op_type == "Cast"}
    assert onnx.TensorProto.DOUBLE in reads | widens


AROUND = {
    "bagging": lambda: make_pipeline(StandardScaler(), BaggingClassifier(n_estimators=4, random_state=0)),
    "boosting": lambda: make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=5)),
    "stacking": lambda: StackingClassifier(
        [
            ("a", make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0))),
            ("b", LogisticRegression()),
        ]
    ),
    "voting": lambda: VotingClassifier(
        [
            ("a", make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0))),
            ("b", LogisticRegression()),
        ],
        voting="soft",
        flatten_transform=False,
    ),
}


@pytest.mark.parametrize("model", AROUND.values(), ids=AROUND)
def test_estimators_around_others(tmp_path: Path, model: Any) -> None:
    fitted = model().fit(NUMBERS, CLASSES)
    found, _ = served(tmp_path, fitted, NUMBERS)
    same(found, fitted, NUMBERS)


def test_numbers_after_steps(tmp_path: Path) -> None:
    for name, last in (("trees", ExtraTreesRegressor(5, random_state=0)), ("line", Ridge())):
        folder = tmp_path / name
        folder.mkdir()
        model = make_pipeline(PolynomialFeatures(2), StandardScaler(), last).fit(NUMBERS, NUMBERS[:, 0] * 1e6)
        found, _ = served(folder, model, NUMBERS)
        same(found, model, NUMBERS)
