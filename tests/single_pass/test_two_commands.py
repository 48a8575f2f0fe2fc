"""From a model of a table to a served prediction in two commands: `builder build`, `builder serve`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skl2onnx")
pytest.importorskip("onnxmltools")

import tiny_models
from one_pass_commands import DOORS, Addresses, Shell

# libraries that train what we serve warn of themselves
pytestmark = [pytest.mark.triton, pytest.mark.filterwarnings("ignore")]

CLOSE = 1e-5


def boosted() -> Any:
    """Return XGBoost's classifier of three classes, which are numbers."""
    xgboost = pytest.importorskip("xgboost")
    table, words = tiny_models.table()
    classes = np.searchsorted(np.unique(words), words)
    return xgboost.XGBClassifier(n_estimators=8, max_depth=3).fit(table, classes)


def grown() -> Any:
    """Return LightGBM's classifier of three words."""
    lightgbm = pytest.importorskip("lightgbm")
    table, words = tiny_models.table()
    return lightgbm.LGBMClassifier(n_estimators=8, num_leaves=7, verbose=-1).fit(table, words)


def regression() -> Any:
    """Return XGBoost's trees for one number."""
    xgboost = pytest.importorskip("xgboost")
    table, _ = tiny_models.table()
    return xgboost.XGBRegressor(n_estimators=8, max_depth=3).fit(table, 100 * table["a"] + table["b"])


def same(server: Addresses, model: Any, table: Any) -> None:
    """See that both doors answer rows, and each row by itself, as the model's own library does."""
    columns = {name: table[name].to_numpy()[:, None] for name in table}
    expected = model.predict(table)
    chances = model.predict_proba(table) if hasattr(model, "predict_proba") else None
    for door in DOORS:
        answer = server.ask(door, "mine", **columns)
        agree(answer, expected, chances)
        for row in (0, 5):
            one = {name: column[row : row + 1] for name, column in columns.items()}
            part = None if chances is None else chances[row : row + 1]
            agree(server.ask(door, "mine", **one), expected[row : row + 1], part)


def agree(answer: dict[str, Any], expected: Any, chances: Any) -> None:
    assert answer["prediction"].shape == (len(expected), 1)
    found = answer["prediction"][:, 0]
    if chances is None:
        np.testing.assert_allclose(found, expected, rtol=CLOSE)
        return
    read = [one.decode() for one in found] if found.dtype == object else found.tolist()
    assert read == expected.tolist()
    np.testing.assert_allclose(answer["probabilities"], chances, atol=CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        boosted,
        grown,
        regression,
    ],
)
def test_a_pickle_to_a_prediction(make: Callable[[], Any], shell: Shell, tmp_path: Path) -> None:
    model = make()
    path = tiny_models.pickled(tmp_path / "model.pkl", model)
    command = ["build", "mine", "--checkpoint", path, "--output", tmp_path / "repository"]
    refused = shell.run(*command)
    assert refused.returncode == 1
    assert f"{path} is a pickle: reading it runs whatever code it holds" in refused.stderr
    assert "--trust-pickle" in refused.stderr
    assert not (tmp_path / "repository").exists()

    said = shell.build(*command[1:], "--trust-pickle")
    assert "0 failed" in said
    table = tiny_models.table(rows=20)[0]
    with shell.serving(tmp_path / "repository") as server:
        same(server, model, table)


def test_iris_is_trained_on_the_spot(shell: Shell, tmp_path: Path) -> None:
    from sklearn.datasets import load_iris

    shell.build("iris", "--output", tmp_path / "repository", "--name", "mine")
    flowers = load_iris(as_frame=True).data.iloc[::10].astype(np.float32)
    flowers.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    (trained,) = shell.cache.rglob("iris*.pkl")
    model = tiny_models.unpickled(trained)
    assert set(model.predict(flowers)) == {"setosa", "versicolor", "virginica"}
    with shell.serving(tmp_path / "repository") as server:
        same(server, model, flowers)


@pytest.mark.slow
@pytest.mark.parametrize("make", [boosted, grown])
def test_their_own_files_need_no_trust(make: Callable[[], Any], shell: Shell, tmp_path: Path) -> None:
    model = make()
    if make is boosted:
        path = tmp_path / "model.ubj"
        model.save_model(path)
    else:
        path = tmp_path / "model.txt"
        model.booster_.save_model(path)
    shell.build("mine", "--checkpoint", path, "--output", tmp_path / "repository")
    table = tiny_models.table(rows=20)[0]
    columns = {name: table[name].to_numpy()[:, None] for name in table}
    with shell.serving(tmp_path / "repository") as server:
        answer = server.ask("grpc", "mine", **columns)
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(table), atol=CLOSE)
    # such files hold the numbers of the classes alone
    assert answer["prediction"][:, 0].tolist() == model.predict_proba(table).argmax(1).tolist()
