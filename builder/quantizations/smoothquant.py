"""INT8 SmoothQuant: weights and smoothed inputs in int8; embedding and head have 16 bits."""

from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="INT8 SmoothQuant",
    weight_bits=8,
    embedding_bits=16,
    head_bits=16,
    cache_bytes=2,
    calibrated=True,
    shares_tied=False,
    budget=Budget(
        divergence=0.1,
        agreement=0.85,
        held_out=Limits(perplexity=1.05, divergence=0.06, agreement=0.9),
    ),
    tolerance=Tolerance(cosine=0.99),
    targets={
        "tensorrtllm": Support(frozenset({"gpu"}), refused={"cpu": "an engine runs on a GPU"}),
    },
)
