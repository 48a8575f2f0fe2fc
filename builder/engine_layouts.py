"""Which weights that are quantised already TensorRT-LLM's engines take: what lies alike on every GPU.

That is float8 with one scale for each matrix and one for all of its inputs, and symmetric 4 bits in groups of
128 inputs in a row. Zero points, and inputs in another order, lie otherwise on each generation of GPUs
(TensorRT-LLM's preprocess_weights_for_mixed_gemm): whoever has no such GPU cannot write them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from builder.weight_format import Kernel, Stored

TARGET = "tensorrtllm"
FLOAT8 = Kernel("FP8", "8.9")
INT4 = Kernel("W4A16_AWQ", "8.0")
"""By `quant_algo` (its quantization/mode.py); TensorRT-LLM's support matrix begins at 8.0."""
GROUP = 128

NO_LAYOUT = "its engines have no layout for it that is the same on every GPU"
INPUTS = "its engines want one scale for each matrix and one for all of its inputs, known beforehand"
GROUPS = f"its engines take symmetric 4 bits in groups of {GROUP} inputs in a row"

CACHE_SCALES = (".k_scale", ".v_scale")
"""What the scales of a layer's KV cache end with, whoever wrote them."""


def with_cache(stored: Stored, names: Iterable[str], layers: int) -> Stored:
    """Return it without engines, where it says of a KV cache whose scales it does not bring.

    An engine has a scale in any case: one that nobody measured may cut keys and values off.

    Args:
        stored: what the config says.
        names: of all tensors of the checkpoint.
        layers: how many the model has.
    """
    if not stored.cache or TARGET not in stored.kernels:
        return stored
    every = list(names)
    found = [sum(name.endswith(ending) for name in every) for ending in CACHE_SCALES]
    if min(found) >= layers:
        return stored
    reason = (
        f"its config says of a KV cache of {stored.cache.upper()}, and the checkpoint brings scales of "
        f"{found[0]} keys and {found[1]} values for {layers} layers"
    )
    kernels = {name: kernel for name, kernel in stored.kernels.items() if name != TARGET}
    return replace(stored, kernels=kernels, refused={**stored.refused, TARGET: reason})
