"""What the decoder-only families in `architectures/` have in common: roles, tensor names, config fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.architecture import Dimensions, require_fields
from builder.errors import SourceError

REQUIRED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)

HUGGING_FACE: Mapping[str, str] = {
    "embedding": "model.embed_tokens.weight",
    "input_norm": "model.layers.{layer}.input_layernorm.weight",
    "query": "model.layers.{layer}.self_attn.q_proj.weight",
    "key": "model.layers.{layer}.self_attn.k_proj.weight",
    "value": "model.layers.{layer}.self_attn.v_proj.weight",
    "attention_output": "model.layers.{layer}.self_attn.o_proj.weight",
    "post_attention_norm": "model.layers.{layer}.post_attention_layernorm.weight",
    "gate": "model.layers.{layer}.mlp.gate_proj.weight",
    "up": "model.layers.{layer}.mlp.up_proj.weight",
    "down": "model.layers.{layer}.mlp.down_proj.weight",
    "final_norm": "model.norm.weight",
    "head": "lm_head.weight",
}
HUGGING_FACE_ATTENTION_BIAS: Mapping[str, str] = {
    "query_bias": "model.layers.{layer}.self_attn.q_proj.bias",
    "key_bias": "model.layers.{layer}.self_attn.k_proj.bias",
    "value_bias": "model.layers.{layer}.self_attn.v_proj.bias",
}
HUGGING_FACE_OUTPUT_BIAS: Mapping[str, str] = {
    "attention_output_bias": "model.layers.{layer}.self_attn.o_proj.bias",
}
HUGGING_FACE_MLP_BIAS: Mapping[str, str] = {
    "gate_bias": "model.layers.{layer}.mlp.gate_proj.bias",
    "up_bias": "model.layers.{layer}.mlp.up_proj.bias",
    "down_bias": "model.layers.{layer}.mlp.down_proj.bias",
}
HUGGING_FACE_QUERY_KEY_NORM: Mapping[str, str] = {
    "query_norm": "model.layers.{layer}.self_attn.q_norm.weight",
    "key_norm": "model.layers.{layer}.self_attn.k_norm.weight",
}

GGUF: Mapping[str, str] = {
    "embedding": "token_embd.weight",
    "input_norm": "blk.{layer}.attn_norm.weight",
    "query": "blk.{layer}.attn_q.weight",
    "key": "blk.{layer}.attn_k.weight",
    "value": "blk.{layer}.attn_v.weight",
    "attention_output": "blk.{layer}.attn_output.weight",
    "post_attention_norm": "blk.{layer}.ffn_norm.weight",
    "gate": "blk.{layer}.ffn_gate.weight",
    "up": "blk.{layer}.ffn_up.weight",
    "down": "blk.{layer}.ffn_down.weight",
    "final_norm": "output_norm.weight",
    "head": "output.weight",
}
GGUF_ATTENTION_BIAS: Mapping[str, str] = {
    "query_bias": "blk.{layer}.attn_q.bias",
    "key_bias": "blk.{layer}.attn_k.bias",
    "value_bias": "blk.{layer}.attn_v.bias",
}
GGUF_OUTPUT_BIAS: Mapping[str, str] = {"attention_output_bias": "blk.{layer}.attn_output.bias"}
GGUF_MLP_BIAS: Mapping[str, str] = {
    "gate_bias": "blk.{layer}.ffn_gate.bias",
    "up_bias": "blk.{layer}.ffn_up.bias",
    "down_bias": "blk.{layer}.ffn_down.bias",
}
GGUF_QUERY_KEY_NORM: Mapping[str, str] = {
    "query_norm": "blk.{layer}.attn_q_norm.weight",
    "key_norm": "blk.{layer}.attn_k_norm.weight",
}


def read_dimensions(
    config: Mapping[str, Any],
    *,
    require: tuple[str, ...] = REQUIRED,
    head_size: int | None = None,
    attention_bias: bool = False,
    output_bias: bool = False,
    mlp_bias: bool = False,
    query_key_norm: bool = False,
    sliding_window: int | None = None,
) -> Dimensions:
    """Read the fields all families share; the keywords carry what the family decides.

    Args:
        config: a Hugging Face config.
        require: fields that must be there.
        head_size: used where the config gives none; None means hidden_size / heads.

    Raises:
        SourceError: naming every missing field, or the one whose value cannot be.
    """
    require_fields(config, require)
    heads = _count(config, "num_attention_heads")
    key_value_heads = _count(config, "num_key_value_heads", heads)
    if heads % key_value_heads:
        raise SourceError(
            f"config.json: {heads} attention heads and {key_value_heads} key-value heads",
            expected="num_key_value_heads divides num_attention_heads",
            remedy="take config.json from the model's own repository again",
        )
    hidden_size = _count(config, "hidden_size")
    return Dimensions(
        vocabulary_size=_count(config, "vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=_count(config, "intermediate_size"),
        layers=_count(config, "num_hidden_layers"),
        heads=heads,
        key_value_heads=key_value_heads,
        head_size=_count(config, "head_dim", head_size or hidden_size // heads),
        context_length=_count(config, "max_position_embeddings"),
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
        attention_bias=attention_bias,
        query_key_norm=query_key_norm,
        rope_theta=_rope_theta(config),
        norm_epsilon=_positive(config, "rms_norm_eps", 1e-6),
        sliding_window=sliding_window,
        output_bias=output_bias,
        mlp_bias=mlp_bias,
    )


def switched_window(config: Mapping[str, Any]) -> int | None:
    """Return the Qwen families' window: their `sliding_window` counts only where it is switched on."""
    if not config.get("use_sliding_window", False) or config.get("sliding_window") is None:
        return None
    return _count(config, "sliding_window")


def _count(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _impossible(name, value, "a whole number above 0")
    return value


def _positive(config: Mapping[str, Any], name: str, default: float) -> float:
    value = config.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise _impossible(name, value, "a number above 0")
    return float(value)


def _rope_theta(config: Mapping[str, Any]) -> float:
    # transformers 5 writes the base into rope_parameters, every earlier version beside it
    parameters = config.get("rope_parameters")
    if config.get("rope_theta") is None and isinstance(parameters, Mapping):
        return _positive(parameters, "rope_theta", 10000.0)
    return _positive(config, "rope_theta", 10000.0)


def _impossible(name: str, value: object, expected: str) -> SourceError:
    return SourceError(
        f"config.json: {name} is {value!r}",
        expected=expected,
        remedy="take config.json from the model's own repository again",
    )
