"""Float16 weights, activations and cache."""

from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="float16",
    weight_bits=16,
    embedding_bits=16,
    cache_bytes=2,
    shares_tied=True,
    budget=Budget(
        divergence=0.01,
        agreement=0.97,
        held_out=Limits(perplexity=1.005, divergence=0.005, agreement=0.98),
    ),
    tolerance=Tolerance(cosine=0.999),
    targets={
        "llamacpp": Support(frozenset({"cpu"}), arguments=("F16",), kinds=("F16",)),
        "onnxruntime": Support(
            frozenset({"gpu"}),
            refused={"cpu": "a CPU computes in float32 and would only convert back and forth"},
        ),
        "tensorrt": Support(frozenset({"gpu"}), refused={"cpu": "an engine runs on a GPU"}),
        "onnx": Support(
            frozenset({"gpu"}), refused={"cpu": "such a model builds, then fails at its first run on a CPU"}
        ),
        "vllm": Support(frozenset({"gpu"})),
        "llmapi": Support(frozenset({"gpu"})),
        "tensorrtllm": Support(frozenset({"gpu"})),
    },
)
