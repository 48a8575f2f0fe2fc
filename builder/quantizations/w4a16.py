"""4-bit weights, a scale for each output, which trtllm-build rounds; inputs and all else have 16 bits.

`awq` loses less: it has as many bits, scales for groups, and texts to measure them with.
"""

from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="4-bit weights alone",
    weight_bits=4,
    embedding_bits=16,
    head_bits=16,
    cache_bytes=2,
    shares_tied=False,
    budget=Budget(
        divergence=0.6,
        agreement=0.6,
        held_out=Limits(perplexity=1.25, divergence=0.3, agreement=0.8),
    ),
    tolerance=Tolerance(cosine=0.99),
    targets={
        "tensorrtllm": Support(
            frozenset({"gpu"}), arguments=("W4A16",), refused={"cpu": "an engine runs on a GPU"}
        ),
    },
)
