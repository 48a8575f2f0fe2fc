"""Columns of numbers: which of them a request holds in float64."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
pandas = pytest.importorskip("pandas")
pytest.importorskip("sklearn")

from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.ensemble import (  # noqa: E402
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler  # noqa: E402
from sklearn.tree import DecisionTreeClassifier  # noqa: E402

from builder import trust  # noqa: E402
from builder.source import open_checkpoint  # noqa: E402

CHANCE = np.random.default_rng(2)
TABLE = pandas.DataFrame(
    {
        "near": CHANCE.normal(5, 1, 90),
        "time": 1.7e9 + CHANCE.integers(0, 3600, 90).astype(float),
        "price": CHANCE.choice([1.1, 2.2, 3.3], 90),
        "half": CHANCE.choice([0.5, 1.5], 90),
    }
)
ANSWER = (TABLE["near"] > 5).to_numpy()
TREE = DecisionTreeClassifier(random_state=0)
LINE = LogisticRegression()


def types(folder: Path, model: Any, *columns: str) -> list[str]:
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(model.fit(TABLE[list(columns)], ANSWER)))
    with trust.granted():
        return [one["data_type"] for one in open_checkpoint(path).config["inputs"]]


def test_trees_round_by_themselves(tmp_path: Path) -> None:
    assert types(tmp_path, TREE, "near", "time") == ["FP32", "FP32"]
    assert types(tmp_path, make_pipeline(SimpleImputer(), TREE), "near", "time") == ["FP32", "FP32"]
    votes = VotingClassifier([("a", TREE), ("b", LINE)])
    assert types(tmp_path, votes, "near") == ["FP32"]
    assert types(tmp_path, StackingClassifier([("a", TREE), ("b", LINE)]), "near") == ["FP32"]


def test_what_is_computed_before_trees_is_not_rounded(tmp_path: Path) -> None:
    scaled = make_pipeline(StandardScaler(), RandomForestClassifier(3, random_state=0))
    assert types(tmp_path, scaled, "near", "time") == ["FP64", "FP64"]
    assert types(tmp_path, GridSearchCV(scaled, {}, cv=2), "near") == ["FP64"]
    assert types(tmp_path, VotingClassifier([("a", scaled), ("b", LINE)]), "near") == ["FP64"]
    filled = make_pipeline(SimpleImputer(), StandardScaler(), TREE)
    assert types(tmp_path, filled, "near") == ["FP64"]


def test_bins_may_end_at_the_very_values_learned(tmp_path: Path) -> None:
    assert types(tmp_path, HistGradientBoostingClassifier(max_iter=2), "near", "half") == ["FP64", "FP64"]


def test_each_column_for_itself(tmp_path: Path) -> None:
    first = ColumnTransformer([("a", StandardScaler(), ["near"])], remainder="passthrough")
    assert types(tmp_path, make_pipeline(first, TREE), "near", "half") == ["FP64", "FP32"]
    assert types(tmp_path, make_pipeline(first, StandardScaler(), TREE), "near", "half") == ["FP64", "FP64"]
    both = ColumnTransformer([("a", "passthrough", ["near"]), ("b", StandardScaler(), ["near"])])
    assert types(tmp_path, make_pipeline(both, TREE), "near") == ["FP64"]


def test_without_jumps_only_what_float32_holds_badly(tmp_path: Path) -> None:
    assert types(tmp_path, make_pipeline(StandardScaler(), LINE), "near", "time") == ["FP32", "FP64"]
    bins = make_pipeline(KBinsDiscretizer(3, encode="ordinal"), LINE)
    assert types(tmp_path, bins, "near") == ["FP64"]


def test_categories_that_float32_does_not_hold(tmp_path: Path) -> None:
    first = ColumnTransformer([("a", OneHotEncoder(), ["price", "half"])])
    assert types(tmp_path, make_pipeline(first, LINE), "price", "half") == ["FP64", "FP32"]
