"""Int8 weights in blocks of 32 with a zero point, float32 activations and cache.

Asymmetric because a symmetric grid doubled the divergence on a checkpoint that was stored as Q4_1.
"""

from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="int8 weights",
    # 8 bits, a float32 scale and an 8-bit zero point for each 32 weights
    weight_bits=8 + 32 / 32 + 8 / 32,
    embedding_bits=32,
    cache_bytes=4,
    shares_tied=False,
    budget=Budget(
        divergence=0.05,
        agreement=0.9,
        held_out=Limits(perplexity=1.03, divergence=0.03, agreement=0.93),
    ),
    tolerance=Tolerance(cosine=0.99),
    targets={
        "onnxruntime": Support(frozenset({"cpu"}), refused={"gpu": "fp16 is faster there"}),
        "onnx": Support(
            frozenset({"cpu"}),
            arguments=("is_symmetric=false",),
            kinds=("UINT8/32",),
            refused={"gpu": "not proven there yet; bf16 and fp16 are"},
        ),
    },
)
