"""Named columns -> what a scikit-learn estimator takes: the table or the array that it was fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.tabular.describing import FEATURES


def table(estimator: Any, inputs: Mapping[str, Any]) -> Any:
    """Return the rows as a DataFrame where columns have names, else as an array [rows, columns].

    Args:
        estimator: has `n_features_in_`, and `feature_names_in_` where it was fitted on names.
        inputs: name -> array [rows, 1], or `features` -> [rows, columns]; text as str or UTF-8 bytes.
    """
    import numpy as np

    if set(inputs) == {FEATURES}:
        return _plain(np.asarray(inputs[FEATURES]))
    import pandas

    columns = {name: _plain(np.asarray(values)[:, 0]) for name, values in inputs.items()}
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        # columns that nothing reads are still looked for by name
        rows = len(next(iter(columns.values())))
        absent = {str(name): np.zeros(rows) for name in names if str(name) not in columns}
        return pandas.DataFrame({**columns, **absent})[[str(name) for name in names]]
    places = [columns.get(f"column_{place}") for place in range(int(estimator.n_features_in_))]
    rows = len(next(iter(columns.values())))
    found = np.empty((rows, len(places)), object)
    for place, values in enumerate(places):
        found[:, place] = 0 if values is None else values
    return found


def _plain(values: Any) -> Any:
    import numpy as np

    if values.dtype.kind == "f":
        # as NumPy and pandas hold what a model is fitted on: of float32 it would compute in float32
        return values.astype(np.float64)
    if values.dtype.kind not in "OSU":
        return values
    plain = [one.decode("utf-8") if isinstance(one, bytes) else str(one) for one in values]
    return np.array(plain, object)


def one(inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one row that a model of these inputs takes: first categories, and middles of ranges."""
    import numpy as np

    kinds = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "STRING": object}
    found = {}
    for entry in inputs:
        if "categories" in entry:
            values = [entry["categories"][0]]
        elif entry["data_type"] == "STRING":
            values = ["a"]
        else:
            values = [sum(one) / 2 for one in entry.get("ranges", [[0.0, 0.0]] * entry["dims"][0])]
        found[entry["name"]] = np.array([values], kinds[entry["data_type"]])
    return found
