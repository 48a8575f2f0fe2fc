"""How files of saved Python objects are called; told apart by those who read none of them."""

from __future__ import annotations

PICKLES = (".pkl", ".pickle", ".joblib")
SKOPS = ".skops"
