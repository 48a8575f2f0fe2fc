"""llama.cpp's Q5_K_M: 5 bits in blocks of 256, 6 where it counts most; see builder/gguf/mixes.py."""

from functools import partial

from builder.gguf import mixes
from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="5 bits, K-quant, medium mix",
    weight_bits=5.7,
    embedding_bits=6.6,
    cache_bytes=2,
    shares_tied=True,
    budget=Budget(
        divergence=0.3,
        agreement=0.75,
        held_out=Limits(perplexity=1.1, divergence=0.1, agreement=0.85),
    ),
    tolerance=Tolerance(cosine=0.99),
    bytes_of=partial(mixes.mixed_bytes, mixes.Q5_K_M),
    targets={"llamacpp": Support(frozenset({"cpu"}), arguments=(mixes.Q5_K_M.file,), kinds=("Q5_K", "Q6_K"))},
)
