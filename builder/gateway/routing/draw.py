"""Users divided among models, each for good: by hashing, so that nothing is kept of them.

Every model draws a number for the user, and the smallest wins: weighted rendezvous hashing (Schindelhauer
and Schomaker, "Weighted distributed hash tables", SPAA 2005, logarithmic method). A model whose weight is
raised keeps its users and gets others; nobody moves between two models whose weights stay, as those would
who lie between two borders on a line of 10,000 places.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping


def model(route: str, user: str, weights: Mapping[str, float]) -> str:
    """Return the model of a user; one whose weight is 0 gets none. Some weight must be above 0."""
    return min(
        (model for model, weight in weights.items() if weight > 0),
        key=lambda model: (-math.log(_uniform(route, user, model)) / weights[model], model),
    )


def _uniform(*texts: str) -> float:
    """Return a number of (0, 1] that BLAKE2b makes of texts, each hashed with its length before it."""
    hashed = hashlib.blake2b(digest_size=8)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        hashed.update(len(data).to_bytes(8, "little") + data)
    # 53 bits are what a float holds
    return ((int.from_bytes(hashed.digest(), "little") >> 11) + 1) / 2**53
