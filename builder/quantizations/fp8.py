"""FP8 (E4M3) weights, activations and cache, one scale for each matrix; embedding and head have 16 bits."""

from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="FP8",
    weight_bits=8,
    embedding_bits=16,
    head_bits=16,
    cache_bytes=1,
    calibrated=True,
    shares_tied=False,
    budget=Budget(
        divergence=0.05,
        agreement=0.9,
        held_out=Limits(perplexity=1.03, divergence=0.03, agreement=0.93),
    ),
    tolerance=Tolerance(cosine=0.99),
    targets={
        "tensorrtllm": Support(frozenset({"gpu"}), refused={"cpu": "an engine runs on a GPU"}),
        # vLLM rounds weights as it loads them, and inputs by the largest of each step: no texts are needed
        "vllm": Support(
            frozenset({"gpu"}),
            refused={"cpu": "vLLM runs on a GPU"},
            differing={"cache_bytes": 2, "calibrated": False},
            engine={"quantization": "fp8"},
            weights_alone=True,
            # tensor cores compute in FP8 from Ada on; on older ones vLLM would compute in 16 bits, by Marlin
            compute="8.9",
        ),
    },
)
