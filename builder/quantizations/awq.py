"""AWQ: 4-bit weights in groups, the inputs that count most scaled up before they are rounded.

For TensorRT-LLM groups have 128, and every input is smoothed as it is read; elsewhere they have 64, and norms
and rows of other matrices take the scales.
"""

from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

GROUPS_OF_64 = {
    "group": 64,
    "budget": Budget(
        divergence=0.9,
        agreement=0.5,
        held_out=Limits(perplexity=1.8, divergence=0.5, agreement=0.55),
    ),
    "shares_tied": True,
}

QUANTIZATION = Quantization(
    title="AWQ, 4-bit weights",
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
        "onnx": Support(
            frozenset({"cpu"}),
            arguments=("precision=int4", "block_size=64", "is_symmetric=true"),
            refused={"gpu": "not proven there yet; bf16 and fp16 are"},
            converter="awq",
            # a float32 scale and the 4 bits of a zero point; embedding and head are rounded too
            differing={
                **GROUPS_OF_64,
                "weight_bits": 4 + (32 + 4) / 64,
                "embedding_bits": 4.5,
                "head_bits": 4.5,
                "cache_bytes": 4,
            },
        ),
        "vllm": Support(
            frozenset({"gpu"}),
            refused={"cpu": "vLLM runs on a GPU; --target onnx is for a CPU"},
            converter="awq",
            differing={**GROUPS_OF_64, "weight_bits": 4 + (16 + 4) / 64},
            weights_alone=True,
        ),
    },
)
