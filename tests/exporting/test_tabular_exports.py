"""Models of tables as graphs: what ONNX Runtime answers is what the model's own library answers."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pandas = pytest.importorskip("pandas")
pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")
pytest.importorskip("onnxmltools")

from sklearn.calibration import CalibratedClassifierCV  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.ensemble import (  # noqa: E402
    BaggingClassifier,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import (  # noqa: E402
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
)
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import (  # noqa: E402
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC  # noqa: E402
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier  # noqa: E402

from builder import trust  # noqa: E402
from builder.errors import ConversionError  # noqa: E402
from builder.exporting import lightgbm as lightgbm_exporter  # noqa: E402
from builder.exporting import sklearn as sklearn_exporter  # noqa: E402
from builder.exporting import xgboost as xgboost_exporter  # noqa: E402
from builder.proving.originals import lightgbm as lightgbm_original  # noqa: E402
from builder.proving.originals import sklearn as sklearn_original  # noqa: E402
from builder.proving.originals import xgboost as xgboost_original  # noqa: E402
from builder.source import open_checkpoint  # noqa: E402

# converters warn of what they do not need
pytestmark = pytest.mark.filterwarnings("ignore")

ROOT = Path(__file__).parent.parent.parent
ROWS = 300
CLOSE = 1e-5
RANDOM = np.random.default_rng(11)
NUMBERS = RANDOM.normal(size=(ROWS, 4)).astype(np.float32)
SUM = NUMBERS[:, 0] + NUMBERS[:, 1] * NUMBERS[:, 2]
TWO, THREE = (SUM > 0).astype(int), np.digitize(SUM, [-0.5, 0.5])
NAMES = np.array(["low", "middle", "high"], object)
KINDS = {
    "sklearn": (sklearn_exporter, sklearn_original),
    "xgboost": (xgboost_exporter, xgboost_original),
    "lightgbm": (lightgbm_exporter, lightgbm_original),
}


def save(folder: Path, model: Any) -> Path:
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    return path


def answers(path: Path, folder: Path, inputs: dict[str, Any] | None = None) -> tuple[Any, Any, Any]:
    """Return the config, what the graph answers and what the original answers, by output."""
    with trust.granted():
        config = open_checkpoint(path).config
    exporter, original = KINDS[config["model_type"]]
    exporter.export(path, folder / "out")
    told = onnx.load(folder / "out" / "model.onnx")
    assert told.ir_version <= 10
    assert len({one.domain for one in told.opset_import}) == len(told.opset_import)
    assert all(one.version <= 18 for one in told.opset_import)
    session = onnxruntime.InferenceSession(folder / "out" / "model.onnx")
    assert [one.name for one in session.get_inputs()] == [one["name"] for one in config["inputs"]]
    assert [one.shape[1:] for one in session.get_inputs()] == [one["dims"] for one in config["inputs"]]
    assert [one.shape[1:] for one in session.get_outputs()] == [one["dims"] for one in config["outputs"]]
    inputs = inputs or original.samples(config, ROWS, seed=1)
    exact = {one["name"] for one in config["inputs"] if one["data_type"] == "FP64"}
    inputs = {name: values.astype(np.float64) if name in exact else values for name, values in inputs.items()}
    names = [one["name"] for one in config["outputs"]]
    found = dict(zip(names, session.run(names, inputs), strict=True))
    return config, found, original.load(path, config)(inputs)


def agree(path: Path, folder: Path, inputs: dict[str, Any] | None = None) -> None:
    config, found, expected = answers(path, folder, inputs)
    certain = expected.pop("certain", None)
    for name, values in expected.items():
        assert found[name].shape == values.shape == (len(values), *values.shape[1:])
        assert found[name].dtype == values.dtype
        if values.dtype == np.float32:
            assert np.abs(found[name] - values).max() <= CLOSE * max(1.0, np.abs(values).max())
        else:
            # a row on the boundary of two classes may fall to either side
            sure = np.sort(expected["probabilities"], 1) if "probabilities" in expected else None
            rows = sure[:, -1] - sure[:, -2] > CLOSE if sure is not None else slice(None)
            rows = certain if certain is not None else rows
            assert (found[name][rows] == values[rows]).all()
    if config["kind"] == "classifier" and found["prediction"].dtype == object:
        assert set(found["prediction"].ravel()) <= set(config["labels"])


def plain(model: Any, target: Any = THREE) -> Any:
    return model.fit(NUMBERS, target)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: plain(LogisticRegression()), id="logistic"),
        pytest.param(lambda: plain(LogisticRegression(), NAMES[THREE]), id="text"),
        pytest.param(lambda: plain(LogisticRegression(), TWO == 1), id="truth"),
        pytest.param(lambda: plain(LogisticRegression(), TWO * 2.0 - 5), id="negative"),
        pytest.param(lambda: plain(make_pipeline(StandardScaler(), SVC())), id="without probabilities"),
        pytest.param(lambda: plain(LinearSVC(), TWO), id="without dictionaries"),
        pytest.param(lambda: plain(RidgeClassifier(), NAMES[THREE]), id="ridge"),
        pytest.param(lambda: plain(DecisionTreeClassifier(random_state=0), NAMES[THREE]), id="tree"),
        pytest.param(lambda: plain(RandomForestClassifier(9, random_state=0)), id="forest"),
        pytest.param(lambda: plain(GradientBoostingClassifier(n_estimators=5)), id="boosted"),
        pytest.param(lambda: plain(KNeighborsClassifier()), id="neighbours"),
        pytest.param(lambda: plain(MLPClassifier(8, max_iter=20)), id="network"),
        pytest.param(lambda: plain(CalibratedClassifierCV(LinearSVC(), cv=2)), id="calibrated"),
        pytest.param(
            lambda: plain(GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {}, cv=2)),
            id="search",
        ),
        pytest.param(lambda: plain(make_pipeline(PolynomialFeatures(2), Ridge()), SUM), id="polynomial"),
        pytest.param(lambda: plain(PoissonRegressor(), np.exp(SUM)), id="exponential"),
        pytest.param(lambda: plain(HistGradientBoostingRegressor(max_iter=5), 1e6 * SUM), id="large numbers"),
        pytest.param(
            lambda: plain(RandomForestRegressor(5, random_state=0), NUMBERS[:, :2]), id="two numbers"
        ),
    ],
)
def test_estimators(tmp_path: Path, model: Any) -> None:
    agree(save(tmp_path, model()), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_trees_split_alike_on_the_rows_they_learned(tmp_path: Path, seed: int) -> None:
    """Thresholds lie between the values seen in training: nowhere is float32 nearer to the other side."""
    model = plain(RandomForestClassifier(5, random_state=seed))
    agree(save(tmp_path, model), tmp_path, {"features": NUMBERS})


def asked_with_gaps() -> dict[str, Any]:
    table = np.concatenate([NUMBERS, RANDOM.normal(size=NUMBERS.shape).astype(np.float32)])
    table[RANDOM.random(table.shape) < 0.1] = np.nan
    return {"features": table}


@pytest.mark.parametrize("gaps", [False, True], ids=["learned without", "learned with"])
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(DecisionTreeClassifier(max_depth=5), id="tree"),
        pytest.param(DecisionTreeRegressor(max_depth=5), id="tree of numbers"),
        pytest.param(ExtraTreeClassifier(max_depth=5), id="random tree"),
        pytest.param(RandomForestClassifier(5, random_state=0), id="forest"),
        pytest.param(RandomForestRegressor(5, random_state=0), id="forest of numbers"),
        pytest.param(ExtraTreesClassifier(5, random_state=0), id="random trees"),
        pytest.param(ExtraTreesRegressor(5, random_state=0), id="random trees of numbers"),
        pytest.param(HistGradientBoostingClassifier(max_iter=5), id="boosted"),
        pytest.param(BaggingClassifier(n_estimators=3, random_state=0), id="trees within"),
    ],
)
def test_trees_send_absent_values_where_training_did(tmp_path: Path, model: Any, gaps: bool) -> None:
    table = NUMBERS.copy()
    if gaps:
        table[::3, 1] = np.nan
    label = np.where(np.isnan(table[:, 1]), 1, TWO)
    agree(save(tmp_path, model.fit(table, label)), tmp_path, asked_with_gaps())


TABLE = pandas.DataFrame(
    {
        "an age": RANDOM.integers(18, 80, ROWS).astype(float),
        "city": RANDOM.choice(np.array(["Paris", "Rom", "Öslo"], object), ROWS),
        # called as converters call their own tensors
        "label": RANDOM.normal(3e4, 1e4, ROWS),
        "kids": RANDOM.integers(0, 4, ROWS),
        "never read": "x",
        "variable": RANDOM.normal(size=ROWS),
    }
)
ANSWER = np.where((TABLE["an age"] > 40) ^ (TABLE["city"] == "Paris"), "yes", "no")
TEXT = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))


def columns(**more: Any) -> ColumnTransformer:
    # in another order than the table's
    return ColumnTransformer(
        [
            ("text", TEXT, ["city"]),
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["label", "an age"]),
            ("counts", OneHotEncoder(handle_unknown="ignore"), ["kids"]),
            ("plain", "passthrough", ["variable"]),
        ],
        **more,
    )


def asked(*names: str) -> dict[str, Any]:
    kinds = {"float64": np.float32, "int64": np.int64, "object": object, "str": object}
    return {name: TABLE[[name]].to_numpy(kinds[str(TABLE[name].dtype)]) for name in names}


def test_columns_by_name(tmp_path: Path) -> None:
    path = save(tmp_path, make_pipeline(columns(), LogisticRegression(max_iter=500)).fit(TABLE, ANSWER))
    agree(path, tmp_path, asked("an age", "city", "label", "kids", "variable"))


def test_columns_of_a_search(tmp_path: Path) -> None:
    search = GridSearchCV(make_pipeline(columns(), LogisticRegression(max_iter=500)), {}, cv=2)
    path = save(tmp_path, search.fit(TABLE, ANSWER))
    agree(path, tmp_path, asked("an age", "city", "label", "kids", "variable"))


def test_categories_that_training_never_saw(tmp_path: Path) -> None:
    path = save(tmp_path, make_pipeline(columns(), LogisticRegression(max_iter=500)).fit(TABLE, ANSWER))
    inputs = asked("an age", "city", "label", "kids", "variable")
    inputs["city"][:50], inputs["kids"][:80] = "Atlantis", 17
    agree(path, tmp_path, inputs)


@pytest.mark.parametrize("strategy", ["most_frequent", "constant"])
def test_a_text_that_stands_for_none_is_replaced(tmp_path: Path, strategy: str) -> None:
    fill = SimpleImputer(missing_values="Rom", strategy=strategy, fill_value="Paris")
    text = make_pipeline(fill, OneHotEncoder(handle_unknown="ignore"))
    model = make_pipeline(ColumnTransformer([("text", text, ["city"])]), LogisticRegression())
    model.fit(TABLE, TABLE["city"] == "Öslo")
    inputs = asked("city")
    assert "Rom" in inputs["city"]
    agree(save(tmp_path, model), tmp_path, inputs)


def test_columns_without_names(tmp_path: Path) -> None:
    first = ColumnTransformer([("t", OrdinalEncoder(), [1]), ("n", StandardScaler(), [2, 0])])
    table = TABLE[["an age", "city", "label"]].to_numpy()
    path = save(tmp_path, make_pipeline(first, LogisticRegression()).fit(table, ANSWER))
    named = asked("an age", "city", "label")
    agree(path, tmp_path, {f"column_{place}": one for place, one in enumerate(named.values())})


def test_columns_of_numbers_alone_by_place(tmp_path: Path) -> None:
    first = ColumnTransformer([("a", StandardScaler(), [3, 0])], remainder="passthrough")
    agree(save(tmp_path, plain(make_pipeline(first, LogisticRegression()))), tmp_path, {"features": NUMBERS})


def test_named_numbers_are_laid_side_by_side(tmp_path: Path) -> None:
    names = ["label", "an age"]
    path = save(tmp_path, make_pipeline(StandardScaler(), Ridge()).fit(TABLE[names], TABLE["variable"]))
    agree(path, tmp_path, asked(*names))
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    forth = session.run(None, {"label": np.float32([[3e4]]), "an age": np.float32([[20]])})[0]
    back = session.run(None, {"label": np.float32([[20]]), "an age": np.float32([[3e4]])})[0]
    assert abs(forth - back).max() > CLOSE


def test_all_text(tmp_path: Path) -> None:
    path = save(tmp_path, make_pipeline(OneHotEncoder(), LogisticRegression()).fit(TABLE[["city"]], ANSWER))
    agree(path, tmp_path)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            lambda: make_pipeline(OrdinalEncoder(), Ridge()).fit(TABLE[["city", "kids"]], TABLE["kids"]),
            "OrdinalEncoder reads columns of INT64, STRING",
        ),
        (lambda: plain(make_pipeline(FunctionTransformer(np.sin), LogisticRegression())), "skl2onnx cannot"),
    ],
)
def test_what_cannot_be_converted(tmp_path: Path, model: Any, said: str) -> None:
    path = save(tmp_path, model())
    with pytest.raises(ConversionError, match=said) as caught:
        sklearn_exporter.export(path, tmp_path / "out")
    assert caught.value.expected
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()


# --- trees of other libraries


@pytest.fixture(scope="module")
def xgboost() -> Any:
    return pytest.importorskip("xgboost")


@pytest.fixture(scope="module")
def lightgbm() -> Any:
    return pytest.importorskip("lightgbm")


def target(objective: str) -> Any:
    if "multi" in objective:
        return THREE
    if "binary" in objective or "rank" in objective:
        return TWO
    return np.floor(np.exp(SUM)) if objective in ("poisson", "count:poisson") else np.exp(SUM)


def test_every_objective_of_xgboost(tmp_path: Path, xgboost: Any) -> None:
    from builder.tabular.xgboost import CLASSIFIERS, REGRESSORS

    for objective in (*CLASSIFIERS, *REGRESSORS):
        rows = xgboost.DMatrix(NUMBERS, label=target(objective))
        settings: dict[str, Any] = {"objective": objective, "max_depth": 3, "quantile_alpha": 0.3}
        settings |= {"num_class": 3} if "multi" in objective else {}
        path = tmp_path / f"{objective.replace(':', '_')}.ubj"
        xgboost.train(settings, rows, 8).save_model(path)
        agree(path, tmp_path / path.stem, asked_with_gaps())


def test_xgboost_object_with_its_best_round(tmp_path: Path, xgboost: Any) -> None:
    fitted = xgboost.XGBClassifier(n_estimators=100, early_stopping_rounds=2, learning_rate=0.9)
    named = pandas.DataFrame(NUMBERS, columns=["a", "b b", "f1", "f0"])
    fitted.fit(named[:200], THREE[:200], eval_set=[(named[200:], THREE[200:])], verbose=False)
    assert fitted.best_iteration + 1 < fitted.get_booster().num_boosted_rounds()
    path = save(tmp_path, fitted)
    agree(path, tmp_path)
    inputs = {name: NUMBERS[:, [place]] for place, name in enumerate(named)}
    _, found, _ = answers(path, tmp_path, inputs)
    assert np.abs(found["probabilities"] - fitted.predict_proba(named)).max() <= CLOSE
    assert (found["prediction"].ravel() == fitted.predict(named)).all()


@pytest.mark.parametrize("absent", [0.0, -999, 0.1, float("inf")])
def test_xgboost_object_with_a_number_for_absent_values(tmp_path: Path, xgboost: Any, absent: float) -> None:
    table = NUMBERS.copy()
    table[::3, 0] = table[1::4, 2] = absent
    fitted = xgboost.XGBClassifier(n_estimators=5, missing=absent)
    fitted.fit(table, np.where(table[:, 0] == np.float32(absent), 1, TWO))
    path = save(tmp_path, fitted)
    table[::7, 1] = np.nan
    table[::5, 0] = -table[::5, 0] if absent == 0 else table[::5, 0]
    _, found, expected = answers(path, tmp_path, {"features": table})
    assert np.abs(found["probabilities"] - fitted.predict_proba(table)).max() <= CLOSE
    assert np.abs(expected["probabilities"] - fitted.predict_proba(table)).max() <= CLOSE


def test_every_objective_of_lightgbm(tmp_path: Path, lightgbm: Any) -> None:
    from builder.tabular.lightgbm import CLASSIFIERS, REGRESSORS

    for objective in (*CLASSIFIERS, *REGRESSORS):
        group = [ROWS] if objective == "lambdarank" else None
        rows = lightgbm.Dataset(NUMBERS, label=target(objective), group=group, params={"verbose": -1})
        settings: dict[str, Any] = {"objective": objective, "verbose": -1, "num_leaves": 7, "num_threads": 1}
        settings |= {"num_class": 3} if objective == "multiclass" else {}
        path = tmp_path / f"{objective}.txt"
        lightgbm.train(settings, rows, 8).save_model(path)
        agree(path, tmp_path / objective, asked_with_gaps())


@pytest.mark.parametrize("classes", [NAMES, np.array([3, 5, 9]), np.array([-1, 0, 1])])
def test_lightgbm_object_with_classes_of_its_own(tmp_path: Path, lightgbm: Any, classes: Any) -> None:
    fitted = lightgbm.LGBMClassifier(n_estimators=4, verbose=-1, num_threads=1).fit(NUMBERS, classes[THREE])
    path = save(tmp_path, fitted)
    agree(path, tmp_path, {"features": NUMBERS})
    _, found, _ = answers(path, tmp_path, {"features": NUMBERS})
    assert (found["prediction"].ravel() == fitted.predict(NUMBERS)).all()


def test_lightgbm_answers_of_truth(tmp_path: Path, lightgbm: Any) -> None:
    fitted = lightgbm.LGBMClassifier(n_estimators=4, verbose=-1, num_threads=1).fit(NUMBERS, TWO == 1)
    _, found, _ = answers(save(tmp_path, fitted), tmp_path, {"features": NUMBERS})
    assert (found["prediction"].ravel() == fitted.predict(NUMBERS)).all()


def test_lightgbm_categories(tmp_path: Path, lightgbm: Any) -> None:
    table = NUMBERS.copy()
    table[:, 3] = RANDOM.integers(0, 12, ROWS)
    label = np.isin(table[:, 3], [1, 4, 7]) * 2.0 + table[:, 0]
    settings = {"verbose": -1, "min_data_per_group": 5, "cat_smooth": 1, "num_threads": 1}
    rows = lightgbm.Dataset(table, label=label, categorical_feature=[3], params={"verbose": -1})
    path = tmp_path / "model.txt"
    lightgbm.train({"objective": "regression", **settings}, rows, 8).save_model(path)
    table[::5, 3] = 13
    agree(path, tmp_path, {"features": table})


def test_lightgbm_thresholds_between_neighbours(tmp_path: Path, lightgbm: Any) -> None:
    """Six values next to each other in float32: between two of them there is room in float64 only."""
    values = [np.float32(1)]
    while len(values) < 6:
        values.append(np.nextafter(values[-1], np.float32(2)))
    table, label = np.repeat(np.array(values, np.float64), 40)[:, None], np.repeat(np.arange(6.0), 40)
    exact = {"min_data_in_leaf": 1, "min_data_in_bin": 1, "verbose": -1, "num_threads": 1}
    rows = lightgbm.Dataset(table, label=label, params=exact)
    learned = {"learning_rate": 1.0, "boost_from_average": False, "objective": "regression", **exact}
    path = tmp_path / "model.txt"
    lightgbm.train(learned, rows, 1).save_model(path)
    _, found, expected = answers(path, tmp_path, {"features": np.array(values, np.float32)[:, None]})
    assert found["prediction"].ravel().tolist() == [0, 1, 2, 3, 4, 5]
    assert expected["prediction"].ravel().tolist() == [0, 1, 2, 3, 4, 5]


def test_trees_within_a_pipeline(tmp_path: Path, xgboost: Any, lightgbm: Any) -> None:
    inputs = asked("an age", "city", "label", "kids", "variable")
    last = {
        "lgbm": lightgbm.LGBMClassifier(n_estimators=4, verbose=-1, num_threads=1),
        "lgbm-number": lightgbm.LGBMRegressor(n_estimators=4, verbose=-1, num_threads=1),
        "xgb": xgboost.XGBClassifier(n_estimators=4),
        "xgb-number": xgboost.XGBRegressor(n_estimators=4),
    }
    for name, model in last.items():
        label = TABLE["variable"] if "number" in name else ANSWER if name == "lgbm" else (ANSWER == "yes") * 1
        folder = tmp_path / name
        folder.mkdir()
        agree(save(folder, make_pipeline(columns(), model).fit(TABLE, label)), folder, inputs)


# --- as the build asks for it


def test_the_same_model_is_written_byte_for_byte_alike(tmp_path: Path, xgboost: Any, lightgbm: Any) -> None:
    models = (
        make_pipeline(columns(), LogisticRegression(max_iter=500)).fit(TABLE, ANSWER),
        xgboost.XGBClassifier(n_estimators=2).fit(NUMBERS, TWO),
        lightgbm.LGBMClassifier(n_estimators=2, verbose=-1, num_threads=1).fit(NUMBERS, NAMES[THREE]),
    )
    for model, (exporter, _) in zip(models, KINDS.values(), strict=True):
        path = save(tmp_path, model)
        exporter.export(path, tmp_path / "one")
        exporter.export(path, tmp_path / "two")
        first, second = (tmp_path / name / "model.onnx" for name in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", list(KINDS))
def test_by_command(tmp_path: Path, name: str, xgboost: Any, lightgbm: Any) -> None:
    model = {
        "sklearn": lambda: LogisticRegression().fit(NUMBERS, TWO),
        "xgboost": lambda: xgboost.XGBClassifier(n_estimators=2).fit(NUMBERS, TWO),
        "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(NUMBERS, TWO),
    }[name]()
    request = tmp_path / "request.json"
    request.write_text(
        f'{{"source": "{save(tmp_path, model)}", "out": "{tmp_path}/out", "pipeline": "tabular"}}'
    )
    command = [sys.executable, "-m", f"builder.exporting.{name}", str(request)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    assert onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx").get_outputs()[0].name == "prediction"
