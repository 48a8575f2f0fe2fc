"""Float16 weights, activations and cache."""

from builder.quantization import Budget, Quantization, Support

QUANTIZATION = Quantization(
    title="float16",
    weight_bits=16,
    embedding_bits=16,
    cache_bytes=2,
    shares_tied=True,
    budget=Budget(divergence=0.01, agreement=0.97),
    targets={
        "onnx": Support(
            frozenset({"gpu"}), refused={"cpu": "such a model builds, then fails at its first run on a CPU"}
        ),
        "vllm": Support(frozenset({"gpu"})),
    },
)
