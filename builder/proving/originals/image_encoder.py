"""The source of an image classifier: transformers in float32, one image at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Answer = Callable[[NDArray[Any]], NDArray[Any]]


def load(folder: Path, pipeline: str) -> Answer:
    """Return what answers pixel values [channels, height, width] with the probability of each label."""
    import torch
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    several = model.config.problem_type == "multi_label_classification"

    def answer(pixels: NDArray[Any]) -> NDArray[Any]:
        with torch.inference_mode():
            given = torch.from_numpy(np.asarray(pixels, np.float32)[None])
            logits = model(pixel_values=given).logits[0].double().numpy()
        if several:
            return np.asarray(1 / (1 + np.exp(-logits)))
        powers = np.exp(logits - logits.max())
        return np.asarray(powers / powers.sum())

    return answer
