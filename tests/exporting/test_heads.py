"""Pooling against sums written out by hand: each mode, with and without padding beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from builder import pooling  # noqa: E402
from builder.errors import ConversionError  # noqa: E402
from builder.exporting import heads  # noqa: E402

HIDDEN = torch.tensor([[[1.0, 8.0], [3.0, 2.0], [5.0, -1.0]], [[2.0, -4.0], [9.0, 9.0], [9.0, 9.0]]])
IS_TOKEN = torch.tensor([[True, True, True], [True, False, False]])
BY_HAND = {
    "cls": [[1, 8], [2, -4]],
    "last": [[5, -1], [2, -4]],
    "max": [[5, 8], [2, -4]],
    "mean": [[3, 3], [2, -4]],
    "mean_sqrt_len": [[9 / 3**0.5, 9 / 3**0.5], [2, -4]],
    "weighted_mean": [[(1 + 6 + 15) / 6, (8 + 4 - 3) / 6], [2, -4]],
}


@pytest.mark.parametrize("mode", BY_HAND)
def test_each_mode(mode: str) -> None:
    head = heads.Embedding(pooling.Pooling((mode,), 2))
    np.testing.assert_allclose(head(HIDDEN, IS_TOKEN), BY_HAND[mode], rtol=1e-6)


def test_every_mode_that_a_config_can_name_is_there() -> None:
    assert set(BY_HAND) == set(pooling.MODES.values())


def test_modes_are_joined_and_the_whole_is_normalised() -> None:
    head = heads.Embedding(pooling.Pooling(("cls", "max"), 4, normalized=True))
    found = head(HIDDEN, IS_TOKEN)[0].tolist()
    assert found == pytest.approx([value / (1 + 64 + 25 + 64) ** 0.5 for value in (1, 8, 5, 8)])


def test_dense_layers_come_after(tmp_path: Path) -> None:
    weights = {"linear.weight": torch.tensor([[1.0, 2.0]]), "linear.bias": torch.tensor([0.5])}
    safetensors.save_file(weights, tmp_path / "model.safetensors")
    dense = pooling.Dense(tmp_path, 2, 1, bias=True, activation="Tanh")
    with torch.no_grad():
        found = heads.Embedding(pooling.Pooling(("cls",), 1, (dense,)))(HIDDEN / 100, IS_TOKEN)
    np.testing.assert_allclose(found, np.tanh([[0.5 + 0.17], [0.5 - 0.06]]), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"activation": "Warp"}, "activation Warp"), ({"path": "nowhere"}, "model.safetensors")],
)
def test_a_dense_layer_that_cannot_be_read_is_refused(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    safetensors.save_file({"linear.weight": torch.zeros(1, 2)}, tmp_path / "model.safetensors")
    told = {"path": tmp_path, "inputs": 2, "outputs": 1, "bias": False, "activation": "Tanh"} | change
    dense = pooling.Dense(**{**told, "path": tmp_path / told["path"]})
    with pytest.raises(ConversionError, match=said):
        heads.Embedding(pooling.Pooling(("cls",), 1, (dense,)))


def test_a_folder_says_how_it_pools(tmp_path: Path) -> None:
    kinds = (("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize"))
    listed = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds]
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    (tmp_path / "1_Pooling").mkdir()
    told = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(told))
    assert pooling.read(tmp_path) == pooling.Pooling(("cls", "mean"), 64, normalized=True)
