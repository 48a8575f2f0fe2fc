"""llama.cpp's Q4_K_M: 4 bits in blocks of 256, 6 where it counts most; see builder/gguf/mixes.py."""

from functools import partial

from builder.gguf import mixes
from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="4 bits, K-quant, medium mix",
    weight_bits=4.85,
    embedding_bits=6.6,
    cache_bytes=2,
    shares_tied=True,
    budget=Budget(
        divergence=0.6,
        agreement=0.6,
        held_out=Limits(perplexity=1.2, divergence=0.2, agreement=0.8),
    ),
    tolerance=Tolerance(cosine=0.99),
    bytes_of=partial(mixes.mixed_bytes, mixes.Q4_K_M),
    targets={"llamacpp": Support(frozenset({"cpu"}), arguments=(mixes.Q4_K_M.file,), kinds=("Q4_K", "Q6_K"))},
)
