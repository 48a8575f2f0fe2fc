"""Int4 weights in groups of 64, symmetric, to the nearest: `gptq` and `awq` make more of as many bits."""

from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="int4 weights, groups of 64",
    # 4 bits and a float32 scale for each 64 weights
    weight_bits=4 + 32 / 64,
    embedding_bits=4.5,
    cache_bytes=4,
    shares_tied=True,
    budget=Budget(
        divergence=0.9,
        agreement=0.5,
        held_out=Limits(perplexity=1.8, divergence=0.7, agreement=0.5),
    ),
    tolerance=Tolerance(cosine=0.99),
    targets={
        "onnx": Support(
            frozenset({"cpu"}),
            arguments=("precision=int4", "block_size=64", "is_symmetric=true"),
            refused={"gpu": "not proven there yet; bf16 and fp16 are"},
        )
    },
)
