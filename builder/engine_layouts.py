"""Which weights that are quantised already TensorRT-LLM's engines take: what lies alike on every GPU.

That is float8 with one scale for each matrix and one for all of its inputs, and symmetric 4 bits in groups of
128 inputs in a row. Zero points, and inputs in another order, lie otherwise on each generation of GPUs
(TensorRT-LLM's preprocess_weights_for_mixed_gemm): whoever has no such GPU cannot write them.
"""

from __future__ import annotations

from builder.weight_format import Kernel

TARGET = "tensorrtllm"
FLOAT8 = Kernel("FP8", "8.9")
INT4 = Kernel("W4A16_AWQ", "8.0")
"""By `quant_algo` (its quantization/mode.py); TensorRT-LLM's support matrix begins at 8.0."""
GROUP = 128

NO_LAYOUT = "its engines have no layout for it that is the same on every GPU"
INPUTS = "its engines want one scale for each matrix and one for all of its inputs, known beforehand"
GROUPS = f"its engines take symmetric 4 bits in groups of {GROUP} inputs in a row"
