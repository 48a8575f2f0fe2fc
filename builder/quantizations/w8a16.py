"""8-bit weights, a scale for each output, which trtllm-build rounds; inputs and all else have 16 bits."""

from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="8-bit weights alone",
    weight_bits=8,
    embedding_bits=16,
    head_bits=16,
    cache_bytes=2,
    shares_tied=False,
    budget=Budget(
        divergence=0.02,
        agreement=0.95,
        held_out=Limits(perplexity=1.01, divergence=0.01, agreement=0.97),
    ),
    tolerance=Tolerance(cosine=0.99),
    targets={
        "tensorrtllm": Support(
            frozenset({"gpu"}), arguments=("W8A16",), refused={"cpu": "an engine runs on a GPU"}
        ),
    },
)
