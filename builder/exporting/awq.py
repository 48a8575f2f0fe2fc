"""AWQ of a checkpoint: `python -m builder.exporting.awq REQUEST.json`.

Lin et al., "AWQ: Activation-aware Weight Quantization" (https://arxiv.org/abs/2306.00978). What texts make
large is scaled up before it is rounded, and down in what comes before it: a norm, or the rows of a matrix. It
needs torch and transformers.
"""

from __future__ import annotations

from typing import Any

from builder.exporting import by_texts, folding, smoothing
from builder.exporting.by_texts import Made, Method
from builder.exporting.inputs import READERS, Layer


def rounded(layer: Layer, group: int) -> Made:
    """Scale the inputs of each matrix, fold that into what comes before, and round to the nearest."""
    tensors = {role: layer.tensor(role).float() for role in layer.names}
    scales = dict[str, Any]()
    for readers in READERS:
        if folding.can_scale(layer, readers[0]):
            weights = [tensors[role] for role in readers]
            magnitudes = layer.inputs[readers[0]].magnitudes()
            scale = smoothing.best(weights, layer.products(readers[0]), magnitudes, group)
            scales |= dict.fromkeys(readers, folding.foldable(layer, readers[0], scale))
    folded = folding.folded(tensors, scales)
    found = {
        role: smoothing.rounded(folded[role], scales.get(role, 1.0), layer.products(role), group)
        for readers in READERS
        for role in readers
    }
    return Made(found, {role: folded[role] for role in folding.touched(tensors)})


METHOD = Method("awq", rounded, {"steps": smoothing.STEPS})

if __name__ == "__main__":
    by_texts.main(METHOD)
