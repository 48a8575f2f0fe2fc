"""NF4: 4-bit weights in blocks of 64, each nearest to a quantile of a normal distribution.

Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs" (https://arxiv.org/abs/2305.14314). vLLM
rounds them as it loads, by bitsandbytes.
"""

from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="NF4, 4-bit weights",
    # for each 64 weights a scale in 8 bits, and for each 256 of those one in 32 and what was taken off them
    weight_bits=4 + (8 + 32 / 256) / 64,
    embedding_bits=16,
    head_bits=16,
    cache_bytes=2,
    shares_tied=True,
    budget=Budget(
        divergence=0.9,
        agreement=0.5,
        held_out=Limits(perplexity=1.5, divergence=0.5, agreement=0.6),
    ),
    tolerance=Tolerance(cosine=0.99),
    targets={
        "vllm": Support(
            frozenset({"gpu"}),
            refused={"cpu": "vLLM runs on a GPU; --target onnx --quantize int4 is for a CPU"},
            engine={"quantization": "bitsandbytes"},
            weights_alone=True,
            # BitsAndBytesConfig.get_min_capability (0.22, layers/quantization/bitsandbytes.py)
            compute="7.0",
            requirements={"bitsandbytes": "bitsandbytes>=0.48.1"},
        ),
    },
)
