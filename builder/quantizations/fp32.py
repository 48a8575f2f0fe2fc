"""Float32: the source's own numbers, for proof and for small models on a CPU."""

from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="float32",
    weight_bits=32,
    embedding_bits=32,
    cache_bytes=4,
    shares_tied=True,
    budget=Budget(
        divergence=1e-4,
        agreement=1.0,
        held_out=Limits(perplexity=1.001, divergence=0.0005, agreement=0.995),
    ),
    tolerance=Tolerance(cosine=0.9999, error=1e-3),
    targets={
        "llamacpp": Support(frozenset({"cpu"}), arguments=("F32",), kinds=("F32",)),
        "onnxruntime": Support(frozenset({"cpu", "gpu"})),
        "tensorrt": Support(frozenset({"gpu"}), refused={"cpu": "an engine runs on a GPU"}),
        "onnx": Support(
            frozenset({"cpu"}), refused={"gpu": "bf16 answers alike at half the memory"}, kinds=("F32",)
        ),
    },
)
