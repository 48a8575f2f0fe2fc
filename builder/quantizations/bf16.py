"""Bfloat16 weights, activations and cache."""

from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="bfloat16",
    weight_bits=16,
    embedding_bits=16,
    cache_bytes=2,
    shares_tied=True,
    budget=Budget(
        divergence=0.02,
        agreement=0.95,
        held_out=Limits(perplexity=1.01, divergence=0.01, agreement=0.97),
    ),
    tolerance=Tolerance(cosine=0.999),
    targets={
        "llamacpp": Support(frozenset({"cpu"}), arguments=("BF16",), kinds=("BF16",)),
        "onnx": Support(
            frozenset({"gpu"}), refused={"cpu": "such a model builds, then fails at its first run on a CPU"}
        ),
        "vllm": Support(frozenset({"gpu"})),
        "llmapi": Support(frozenset({"gpu"})),
        "tensorrtllm": Support(frozenset({"gpu"})),
    },
)
