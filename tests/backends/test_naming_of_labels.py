"""The best of the scores by its name, as the graph itself says it where it can."""

from __future__ import annotations

import numpy as np
import pytest

from backends.labels.naming import Labels

NAMES = ["cat", "Straße", "猫"]


def test_the_highest_score_names_its_label_and_of_equal_ones_the_first() -> None:
    scores = np.array([[0.1, 0.7, 0.2], [0.4, 0.2, 0.4], [0.0, 0.0, 1.0]], np.float32)
    found = Labels(NAMES).name(scores)
    assert (found.shape, found.dtype) == ((3, 1), np.object_)
    assert [row[0].decode() for row in found] == ["Straße", "cat", "猫"]


@pytest.mark.parametrize("shape", [(2, 2), (2, 4), (3,)])
def test_scores_of_another_number_of_labels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one number for each of 3 labels"):
        Labels(NAMES).name(np.zeros(shape, np.float32))
