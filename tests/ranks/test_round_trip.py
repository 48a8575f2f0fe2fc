"""Whatever the sizes and the split: the ranks hold the model, all of it, each number where a reader looks."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rank_reader
import tiny_decoders
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.ranks import blocks
from builder.ranks.convert import Ranks, convert
from builder.ranks.division import Division

FAMILIES = ("llama", "mistral", "mixtral", "qwen2", "qwen3")
EXTRAS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "llama": st.fixed_dictionaries({"attention_bias": st.booleans(), "mlp_bias": st.booleans()}),
    "mistral": st.just({"sliding_window": 5}),
    "qwen2": st.just({}),
    "qwen3": st.just({}),
}
few = settings(max_examples=20)
many = settings(max_examples=400)


@st.composite
def models(draw: st.DrawFn) -> tuple[dict[str, Any], Division, int]:
    """Draw a config, a division that shares it out, and a number of shards."""
    family = draw(st.sampled_from(FAMILIES))
    tensor, pipeline = draw(st.sampled_from([1, 2, 3, 4, 6])), draw(st.integers(1, 3))
    shared = draw(st.sampled_from([one for one in range(1, 13) if one % tensor == 0 or tensor % one == 0]))
    heads = math.lcm(shared, tensor) * draw(st.integers(1, 2))
    experts, extra = 1, {}
    if family == "mixtral":
        experts = draw(st.sampled_from([one for one in range(1, tensor + 1) if tensor % one == 0]))
        extra = {"num_local_experts": experts * draw(st.integers(1, 2)), "num_experts_per_tok": 1}
    else:
        extra = draw(EXTRAS[family])
    told = tiny_decoders.config(
        family,
        num_hidden_layers=pipeline * draw(st.integers(1, 2)),
        num_attention_heads=heads,
        num_key_value_heads=shared,
        head_dim=draw(st.integers(1, 4)) * 2,
        hidden_size=draw(st.integers(1, 20)),
        intermediate_size=tensor // experts * draw(st.integers(1, 5)),
        vocab_size=draw(st.integers(1, 40)),
        tie_word_embeddings=draw(st.booleans()),
        **extra,
    )
    return told, Division(tensor, pipeline, experts), draw(st.integers(1, 3))


def converts(drawn: tuple[dict[str, Any], Division, int], parallel_embedding: bool) -> None:
    told, division, shards = drawn
    weights = tiny_decoders.weights(told)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "source", Path(folder) / "out"
        tiny_decoders.write(source, told, weights, shards)
        convert(source, out, Ranks(division, parallel_embedding=parallel_embedding))
        found = rank_reader.rebuild(out)
        files = sorted(path.name for path in out.iterdir())
    assert files == sorted(["config.json", *(f"rank{rank}.safetensors" for rank in range(division.ranks))])
    if told["tie_word_embeddings"]:
        np.testing.assert_array_equal(found.pop("lm_head.weight"), weights["model.embed_tokens.weight"])
    assert found.keys() == weights.keys()
    for name, tensor in weights.items():
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)


@few
@given(drawn=models(), parallel_embedding=st.booleans())
def test_ranks_hold_the_model(drawn: tuple[dict[str, Any], Division, int], parallel_embedding: bool) -> None:
    converts(drawn, parallel_embedding)


@pytest.mark.slow
@many
@given(drawn=models(), parallel_embedding=st.booleans(), size=st.sampled_from([1, 64, 1000]))
def test_ranks_hold_the_model_in_blocks_of_any_size(
    drawn: tuple[dict[str, Any], Division, int], parallel_embedding: bool, size: int
) -> None:
    whole, blocks.BYTES = blocks.BYTES, size
    try:
        converts(drawn, parallel_embedding)
    finally:
        blocks.BYTES = whole
