"""llama.cpp's Q8_0: 8 bits and a float16 scale for each 32 weights."""

from functools import partial

from builder.gguf import mixes
from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="8 bits in blocks of 32",
    weight_bits=8.5,
    embedding_bits=8.5,
    cache_bytes=2,
    shares_tied=True,
    budget=Budget(
        divergence=0.05,
        agreement=0.9,
        held_out=Limits(perplexity=1.03, divergence=0.03, agreement=0.93),
    ),
    tolerance=Tolerance(cosine=0.99),
    bytes_of=partial(mixes.mixed_bytes, mixes.Q8_0),
    targets={"llamacpp": Support(frozenset({"cpu"}), arguments=(mixes.Q8_0.file,), kinds=("Q8_0",))},
)
