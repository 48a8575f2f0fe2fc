"""GPTQ of a checkpoint: `python -m builder.exporting.gptq REQUEST.json`.

It needs torch, transformers and nvidia-modelopt (the extra `tensorrtllm`). What the layers before lost is
made up for as well. Norms and biases stay as they are.
"""

from __future__ import annotations

from builder.exporting import by_texts, compensating
from builder.exporting.by_texts import Made, Method
from builder.exporting.inputs import READERS, Layer


def rounded(layer: Layer, group: int) -> Made:
    """Round each matrix, its columns making up for the errors of those before them."""
    roles = [role for readers in READERS for role in readers]
    return Made(
        {role: compensating.rounded(layer.tensor(role), layer.products(role), group) for role in roles}
    )


METHOD = Method("gptq", rounded, {"modelopt": compensating.VERSION, "damping": compensating.DAMPING})

if __name__ == "__main__":
    by_texts.main(METHOD)
