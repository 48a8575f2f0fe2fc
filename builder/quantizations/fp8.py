"""FP8 (E4M3) weights, activations and cache, one scale for each matrix; embedding and head have 16 bits."""

from builder.quantization import Budget, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="FP8",
    weight_bits=8,
    embedding_bits=16,
    head_bits=16,
    cache_bytes=1,
    calibrated=True,
    shares_tied=False,
    budget=Budget(divergence=0.05, agreement=0.9),
    tolerance=Tolerance(cosine=0.99),
    targets={
        "tensorrtllm": Support(frozenset({"gpu"}), refused={"cpu": "an engine runs on a GPU"}),
    },
)
