"""GPTQ: symmetric 4-bit weights in groups of 64, each rounding error made up for by the weights after it.

By NVIDIA's ModelOpt, whose update needs no GPU.
"""

from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="GPTQ, 4-bit weights",
    # 4 bits, and for each 64 weights a float32 scale and the 4 bits of a zero point
    weight_bits=4 + (32 + 4) / 64,
    embedding_bits=4.5,
    head_bits=4.5,
    cache_bytes=4,
    calibrated=True,
    group=64,
    shares_tied=True,
    budget=Budget(
        divergence=0.9,
        agreement=0.5,
        held_out=Limits(perplexity=1.8, divergence=0.5, agreement=0.55),
    ),
    tolerance=Tolerance(cosine=0.99),
    targets={
        "onnx": Support(
            frozenset({"cpu"}),
            arguments=("precision=int4", "block_size=64", "is_symmetric=true"),
            refused={"gpu": "not proven there yet; bf16 and fp16 are"},
            converter="gptq",
        ),
        "vllm": Support(
            frozenset({"gpu"}),
            refused={"cpu": "vLLM runs on a GPU; --target onnx is for a CPU"},
            converter="gptq",
            # a scale in 16 bits; embedding and head stay as they are
            differing={
                "weight_bits": 4 + (16 + 4) / 64,
                "embedding_bits": 16,
                "head_bits": 16,
                "cache_bytes": 2,
            },
            weights_alone=True,
        ),
    },
)
