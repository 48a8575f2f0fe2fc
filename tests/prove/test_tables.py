"""Proofs of tables' models: the source's own library against graphs that are right, and that are damaged."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.linear_model import (  # noqa: E402
    LinearRegression,
    LogisticRegression,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.multiclass import OneVsRestClassifier  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier  # noqa: E402

from builder import trust  # noqa: E402
from builder.errors import ProofError  # noqa: E402
from builder.exporting import sklearn as exporter  # noqa: E402
from builder.likeness import require_alike  # noqa: E402
from builder.proving import parity  # noqa: E402
from builder.proving.sample import Asked, Samples  # noqa: E402
from builder.proving.samples import columns  # noqa: E402
from builder.proving.single_pass import Parity, judge  # noqa: E402
from builder.quantizations.fp32 import QUANTIZATION  # noqa: E402
from builder.source import open_checkpoint  # noqa: E402
from builder.subject import Mismatch  # noqa: E402

# converters warn of what they do not need
pytestmark = pytest.mark.filterwarnings("ignore")

TOLERANCE = QUANTIZATION.tolerance
RANDOM = np.random.default_rng(5)
NUMBERS = RANDOM.normal(size=(300, 4)).astype(np.float32)
SUM = NUMBERS @ np.array([1.0, -0.5, 0.25, 0.1]) + 0.05 * RANDOM.normal(size=300)


def proven(folder: Path, source: Any, served: Any) -> tuple[Samples, list[dict[str, Any]]]:
    """Prove the graph of one model by another as its source; return the samples and a row for each."""
    folder.mkdir(parents=True)
    paths = {name: folder / f"{name}.pkl" for name in ("source", "served")}
    for name, model in (("source", source), ("served", served)):
        paths[name].write_bytes(pickle.dumps(model))
    exporter.export(paths["served"], folder / "out")
    with trust.granted():
        config = open_checkpoint(paths["source"]).config
    names = [one["name"] for one in config["outputs"]]
    asked = Asked(
        name="mine", pipeline="tabular", samples="columns", exporter="sklearn", model_type="sklearn",
        main="probabilities" if "probabilities" in names else "prediction", model=folder / "out",
        tokenizer=folder, source=paths["source"], config=config, settings={}, truncates=False,
        max_batch_size=8, provider="cpu", out=folder,
    )  # fmt: skip
    found = columns.samples(asked)
    session = onnxruntime.InferenceSession(folder / "out" / "model.onnx")
    return found, parity.compare(session, columns, found, asked)


THREE = np.digitize(SUM, [-0.5, 0.5])
NAMES = np.array(["low", "middle", "high"], object)
LOSSES = ("hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron", "squared_error", "huber")


def worst(rows: list[dict[str, Any]]) -> float:
    return float(max(row["error"] for row in rows))


TARGETS = {
    "ones": (SUM, 1.01),
    "millionths": (1e-6 * SUM, 1.01),
    "millions": (1e6 * SUM, 1.01),
    # float32 has steps of 0.06 there
    "millions that differ by tens": (1e6 + 10 * SUM, 1.1),
    "two units": (np.stack([1e6 * SUM, 1e-3 * NUMBERS[:, 0]], axis=1), 1.01),
}


@pytest.mark.parametrize(("target", "damage"), TARGETS.values(), ids=TARGETS)
def test_a_regressor_is_as_near_as_its_own_predictions_lie_apart(
    target: Any, damage: float, tmp_path: Path
) -> None:
    right = LinearRegression().fit(NUMBERS, target)
    found, rows = proven(tmp_path / "right", right, right)
    assert worst(rows) <= TOLERANCE.error
    assert min(row["cosine"] for row in rows) >= TOLERANCE.cosine
    assert found.scale is not None
    damaged = LinearRegression().fit(NUMBERS, target)
    damaged.coef_ = np.atleast_2d(damaged.coef_).copy()
    damaged.coef_[-1, 0] *= damage
    damaged.coef_ = damaged.coef_.reshape(right.coef_.shape)
    _, rows = proven(tmp_path / "damaged", right, damaged)
    assert worst(rows) > TOLERANCE.error
    for ask, row in zip(found.asks, rows, strict=False):
        wanted = ask["outputs"]["prediction"]
        inputs = np.array(ask["inputs"]["features"])[None]
        scale = found.scale.tolist()
        require_alike("it", wanted, np.float32(right.predict(inputs)).ravel(), TOLERANCE, scale=scale)
        if row["error"] > 1.1 * TOLERANCE.error:
            with pytest.raises(Mismatch):
                require_alike(
                    "it", wanted, np.float32(damaged.predict(inputs)).ravel(), TOLERANCE, scale=scale
                )


@pytest.mark.parametrize("value", [0.0, 1e-4, -3e5])
def test_a_regressor_that_always_says_the_same(value: float, tmp_path: Path) -> None:
    right = LinearRegression().fit(NUMBERS, 0 * SUM + value)
    found, rows = proven(tmp_path / "right", right, right)
    assert worst(rows) <= TOLERANCE.error
    assert found.scale == pytest.approx([abs(value) / 1000 if value else 1.0], rel=1e-3, abs=1e-12)


def test_infinite_predictions_say_nothing_of_the_scale() -> None:
    answers = {"prediction": np.array([[1.0, np.inf], [4.0, -np.inf], [np.nan, np.nan]])}
    assert columns._scale(answers).tolist() == [3.0, 1.0]


def test_what_is_recorded_of_a_regressor_is_in_json(tmp_path: Path) -> None:
    model = LinearRegression().fit(NUMBERS, 1e-6 * SUM)
    found, _ = proven(tmp_path / "right", model, model)
    told = json.loads(json.dumps(found.asks))
    answers = model.predict(np.array([ask["inputs"]["features"] for ask in told]))
    recorded = [ask["outputs"]["prediction"][0] for ask in told]
    np.testing.assert_allclose(recorded, answers, rtol=1e-6, atol=1e-13)


@pytest.mark.parametrize("classes", [THREE > 0, THREE, NAMES[THREE]], ids=["two", "three", "text"])
@pytest.mark.parametrize("loss", LOSSES)
def test_an_sgd_classifier_decides_as_its_source(loss: str, classes: Any, tmp_path: Path) -> None:
    """Columns of this size give scores whose probabilities are 0 or 1 for several classes."""
    model = SGDClassifier(loss=loss, random_state=0).fit(50 * NUMBERS, classes)
    found, rows = proven(tmp_path / "right", model, model)
    assert worst(rows) <= TOLERANCE.error
    assert min(row["cosine"] for row in rows) >= TOLERANCE.cosine
    assert len(found.decided) > 190
    assert sum("prediction" in ask["outputs"] for ask in found.asks) > 40


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(LogisticRegression(), id="scores"),
        pytest.param(RidgeClassifier(), id="scores alone"),
        pytest.param(RandomForestClassifier(4, random_state=0), id="votes that are equal"),
        pytest.param(KNeighborsClassifier(4), id="neighbours that are as many"),
    ],
)
def test_a_row_between_two_classes_fails_no_proof(model: Any, tmp_path: Path) -> None:
    model.fit(NUMBERS, NAMES[THREE])
    found, rows = proven(tmp_path / "right", model, model)
    assert worst(rows) <= TOLERANCE.error
    assert 100 < len(found.decided) <= len(found.cases)


def test_other_decisions_with_the_same_probabilities_fail_the_proof(tmp_path: Path) -> None:
    one = SGDClassifier(loss="modified_huber", random_state=0)
    model = OneVsRestClassifier(one).fit(50 * NUMBERS, NAMES[THREE])
    # skl2onnx has it decide by probabilities, of which several are 1
    _, rows = proven(tmp_path / "wrong", model, model)
    wrong = [row for row in rows if row["error"] > TOLERANCE.error]
    assert wrong
    assert all(np.isinf(row["error"]) and row["cosine"] > 0.9999 for row in wrong)
    assert re.search("one after the other: prediction (low|middle|high), of the source", wrong[0]["where"])


def test_a_build_with_other_decisions_is_refused_with_the_row(tmp_path: Path) -> None:
    evidence = Parity(
        golden=tmp_path, cases=200, cosine=1.0, error=float("inf"), drift=0.0, worst="row 7",
        where="1 together, one after the other: prediction low, of the source high",
        rank_correlation=None, reference="the sklearn model itself", layouts=("one after the other",),
    )  # fmt: skip
    with pytest.raises(
        ProofError, match=r"error inf, .*row 7.*prediction low, of the source high"
    ) as refused:
        judge(evidence, TOLERANCE, SimpleNamespace(name="mine", target="onnxruntime", quantize="fp32"))
    assert "Python model; nothing was published" in refused.value.remedy
