"""Bytes of weights and KV cache on each GPU, and how many tokens and sequences that leaves."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from builder.architecture import Dimensions
from builder.quantization import Quantization

GIB = 1024**3

# CUDA context, kernels and workspaces of one engine process; seen between 0.6 and 1.4 GiB.
RUNTIME_BYTES = 3 * GIB // 2
# The driver, fragmentation and the peak of a prefill take a share that grows with the card.
USABLE = Fraction(92, 100)


@dataclass(frozen=True)
class Memory:
    """What one device holds; all in bytes except `tokens` and `sequences`.

    `total` is None on a CPU, where the plan states needs and sets no limit. `tokens` is the KV
    cache's capacity, `sequences` how many of `context` tokens each fit into it. `activations` is what one
    batch of a model without a cache takes while it is computed, `adapters` what LoRA adapters do. `table` is
    what of `weights` only the first and the last of several pipeline stages have.
    """

    total: int | None
    weights: int
    cache_per_token: int
    cache: int
    runtime: int
    context: int
    tokens: int
    sequences: int
    activations: int = 0
    adapters: int = 0
    table: int = 0

    @property
    def used(self) -> int:
        return self.weights + self.cache + self.runtime + self.activations + self.adapters


def weight_bytes(dimensions: Dimensions, quantization: Quantization) -> int:
    """Return the bytes of all weights as the quantization stores them."""
    if quantization.weight_bytes is not None:
        return quantization.weight_bytes
    embedding = dimensions.vocabulary_size * dimensions.hidden_size
    tables = 1 if dimensions.tied_embeddings else 2
    bits = (dimensions.parameters - tables * embedding) * quantization.weight_bits
    if not (dimensions.tied_embeddings and quantization.shares_tied):
        head = quantization.weight_bits if quantization.head_bits is None else quantization.head_bits
        bits += embedding * head
    return ceil((bits + embedding * quantization.embedding_bits) / 8)


def stage_bytes(dimensions: Dimensions, quantization: Quantization, stages: int) -> int:
    """Return the bytes of the fullest of several pipeline stages.

    That is its share of the layers and a whole table: the first stage has the embedding, the last the head,
    a copy of the embedding where both are one (vLLM 0.22, model_executor/models/llama.py).
    """
    every = weight_bytes(dimensions, quantization)
    if stages == 1:
        return every
    table = table_bytes(dimensions, quantization)
    tables = 1 if dimensions.tied_embeddings else 2
    return ceil(max(0, every - tables * table) / stages) + table


def table_bytes(dimensions: Dimensions, quantization: Quantization) -> int:
    """Return the bytes of the embedding."""
    return ceil(dimensions.vocabulary_size * dimensions.hidden_size * quantization.embedding_bits / 8)


def cache_bytes_per_token(dimensions: Dimensions, cache_bytes: float, tensor_parallel: int = 1) -> int:
    """Return bytes of KV cache for one token on one GPU of a tensor-parallel group, all layers.

    2 (key and value) x layers x KV heads on this GPU x head size x bytes of an element. With more
    GPUs than KV heads each GPU keeps a copy of one head.
    """
    heads = max(1, ceil(dimensions.key_value_heads / tensor_parallel))
    return 2 * dimensions.layers * heads * ceil(dimensions.head_size * cache_bytes)


def on_gpu(
    total: int, weights: int, cache_per_token: int, context: int, concurrency: int | None, adapters: int = 0
) -> Memory:
    """Fill a GPU of `total` bytes: weights, runtime, and KV cache with all that is left.

    With `concurrency` the cache stops at what that many sequences of `context` tokens need.
    `sequences` is 0 when not even one fits.
    """
    room = max(0, int(total * USABLE) - weights - adapters - RUNTIME_BYTES)
    tokens = room // cache_per_token
    if concurrency is not None:
        tokens = min(tokens, concurrency * context)
    return Memory(
        total=total,
        weights=weights,
        cache_per_token=cache_per_token,
        cache=tokens * cache_per_token,
        runtime=RUNTIME_BYTES,
        context=context,
        tokens=tokens,
        sequences=tokens // context,
        adapters=adapters,
    )


def on_cpu(weights: int, cache_per_token: int, context: int, concurrency: int, runtime: int = 0) -> Memory:
    """State what the host needs when `concurrency` sequences all grow to `context` tokens.

    `runtime` is what the engine's process takes besides, 0 where that is not known.
    """
    tokens = concurrency * context
    return Memory(
        total=None,
        weights=weights,
        cache_per_token=cache_per_token,
        cache=tokens * cache_per_token,
        runtime=runtime,
        context=context,
        tokens=tokens,
        sequences=concurrency,
    )
