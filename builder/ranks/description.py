"""config.json of a TensorRT-LLM checkpoint: what PretrainedConfig and its model classes read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.architecture import Dimensions
from builder.ranks import rotary
from builder.ranks.division import Division
from builder.ranks.family import Family

GPUS_PER_NODE = 8
"""Its own default: what decides which ranks share a host."""

EXCLUDED = ("lm_head", "*router", "*vocab_embedding")
"""What is not quantised, by patterns of names. TensorRT-LLM makes quantised layers of all else, of a router
and of an embedding too (1.2, quantization/quantize.py, quantize_layers)."""


def describe(
    family: Family,
    config: Mapping[str, Any],
    dimensions: Dimensions,
    division: Division,
    dtype: str,
    parallel_embedding: bool,
) -> dict[str, Any]:
    """Return config.json of an unquantised checkpoint.

    Args:
        family: of the config's `model_type`.
        config: Hugging Face's.
        dimensions: the config's.
        division: the ranks.
        dtype: TensorRT-LLM's, such as `bfloat16`.
        parallel_embedding: whether the ranks share out the rows of the embedding.

    Raises:
        SourceError: a rotary scaling or a config that TensorRT-LLM has no graph for.
    """
    return {
        "architecture": family.ARCHITECTURE,
        "dtype": dtype,
        "logits_dtype": "float32",
        "vocab_size": dimensions.vocabulary_size,
        "hidden_size": dimensions.hidden_size,
        "num_hidden_layers": dimensions.layers,
        "num_attention_heads": dimensions.heads,
        "num_key_value_heads": dimensions.key_value_heads,
        "head_size": dimensions.head_size,
        "qk_layernorm": dimensions.query_key_norm,
        "hidden_act": config.get("hidden_act") or "silu",
        "intermediate_size": dimensions.intermediate_size,
        "norm_epsilon": dimensions.norm_epsilon,
        "position_embedding_type": "rope_gpt_neox",
        "max_position_embeddings": dimensions.context_length,
        "rotary_base": dimensions.rope_theta,
        "rotary_scaling": rotary.scaling(config, dimensions.context_length),
        # what is left out is hidden size / heads there, which is not every model's head size
        "rotary_embedding_dim": dimensions.head_size,
        "tie_word_embeddings": dimensions.tied_embeddings,
        "use_parallel_embedding": parallel_embedding,
        "embedding_sharding_dim": 0,
        **family.settings(config, dimensions),
        "mapping": _mapping(division),
        "quantization": {"quant_algo": None, "kv_cache_quant_algo": None},
    }


def _mapping(division: Division) -> dict[str, int]:
    return {
        "world_size": division.ranks,
        # a rank takes the GPU of its number modulo this (runtime/worldConfig.h, getDevice)
        "gpus_per_node": division.ranks // division.hosts if division.hosts > 1 else GPUS_PER_NODE,
        "cp_size": 1,
        "tp_size": division.tensor,
        "pp_size": division.pipeline,
        "moe_tp_size": division.expert_tensor,
        "moe_ep_size": division.experts,
    }
