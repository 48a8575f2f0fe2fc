"""Each part of a model in a type of its own, so that all of it fits: what `--fit` makes; see docs/fit.md."""

from builder.quantization import Budget, Limits, Quantization, Support, Tolerance

QUANTIZATION = Quantization(
    title="types by part, the least lossy that fit `--fit`",
    # what is planned of weights follows from the parts
    weight_bits=8,
    embedding_bits=8,
    cache_bytes=2,
    shares_tied=True,
    # what was asked for may be tight: beyond this it is no longer the model that was given
    budget=Budget(
        divergence=0.6,
        agreement=0.6,
        held_out=Limits(perplexity=1.5, divergence=0.5, agreement=0.6),
    ),
    tolerance=Tolerance(cosine=0.99),
    calibrated=True,
    targets={
        "llamacpp": Support(frozenset({"cpu"}), refused={"gpu": "the engine of this target runs on CPUs"})
    },
)
