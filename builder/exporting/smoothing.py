"""How much each input of matrices is scaled before they are rounded, as AWQ searches for it.

(https://arxiv.org/abs/2306.00978, 3.2; as its authors' llm-awq, quantize/auto_scale.py.) What is lost follows
from the products of the inputs: the inputs themselves need not be kept. Outliers are cut off in each try, not
afterwards: of what scaling saves, cutting off saves a part as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from builder.exporting import grid

STEPS = 20
"""Powers of the magnitudes that are tried, from 0 on: all inputs alike, and so no scaling."""
SMALLEST = 1e-4
"""The least of an input's powers, the authors' own."""
OUTPUTS = 512
"""Of a matrix, evenly among all, that are tried: each makes as much of the same inputs as any other."""


def best(weights: Sequence[Any], products: Any, magnitudes: Any, group: int) -> Any:
    """Return what to multiply the columns of matrices with, float32 [inputs], so that they lose least.

    Args:
        weights: float32 [outputs, inputs], of all that read the same.
        products: of `Inputs`.
        magnitudes: likewise.
        group: inputs that share a scale.
    """
    tried = [weight[:: -(-len(weight) // OUTPUTS)] for weight in weights]
    scales = [candidate(magnitudes, step / STEPS) for step in range(STEPS)]
    losses = [sum(float(lost(one, scale, products, group)) for one in tried) for scale in scales]
    return scales[min(range(STEPS), key=losses.__getitem__)]


def candidate(magnitudes: Any, power: float) -> Any:
    """Return a scale, its largest as far above 1 as its smallest is below."""
    raised = magnitudes.pow(power).clamp(min=SMALLEST)
    return raised / (raised.max() * raised.min()).sqrt()


def rounded(wide: Any, scale: Any, products: Any, group: int) -> grid.Rounded:
    """Round a matrix that is scaled to the nearest, each group by what its inputs are then."""
    return grid.nearest(wide, grid.covering(wide, products.diag() / scale**2, group))


def lost(weight: Any, scale: Any, products: Any, group: int) -> Any:
    """Return by how much a matrix answers otherwise if it is scaled and rounded, trace(E H E^T)."""
    wide = weight * scale
    error = rounded(wide, scale, products, group).weight() / scale - weight
    return ((error @ products) * error).sum()
