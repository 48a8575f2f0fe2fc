"""AWQ's 4-bit weights, multiplied in FP8 with inputs that are rounded so; embedding and head have 16 bits."""

from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="AWQ, 4-bit weights, FP8 activations",
    # 4 bits and a scale in 16 bits for each 128 weights
    weight_bits=4 + 16 / 128,
    embedding_bits=16,
    head_bits=16,
    cache_bytes=2,
    calibrated=True,
    shares_tied=False,
    budget=Budget(
        divergence=0.3,
        agreement=0.75,
        held_out=Limits(perplexity=1.15, divergence=0.2, agreement=0.83),
    ),
    tolerance=Tolerance(cosine=0.99),
    targets={
        "tensorrtllm": Support(frozenset({"gpu"}), refused={"cpu": "an engine runs on a GPU"}),
    },
)
