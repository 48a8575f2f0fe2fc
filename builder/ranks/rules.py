"""What each tensor of TensorRT-LLM is made of, as data (its models/llama/convert.py and models/qwen's)."""

from __future__ import annotations

from dataclasses import dataclass

from builder.ranks import shares
from builder.ranks.shares import Share


@dataclass(frozen=True)
class Rule:
    """One tensor: `name` with `{layer}` for its number within the stage, or of the first or last stage.

    It is what the matrices of `roles` have to give, one below the other. Of `experts` there is one such block
    for each, and the tensor has a dimension more. `dtype` is safetensors', "" for the model's own; `instead`
    is the role that is read where the first is not in the source.
    """

    name: str
    roles: tuple[str, ...]
    share: Share
    dtype: str = ""
    stage: str = ""
    experts: bool = False
    instead: str = ""


_LAYER = "transformer.layers.{layer}"
FIRST, LAST = "first", "last"

EMBEDDING = Rule("transformer.vocab_embedding.weight", ("embedding",), shares.whole, stage=FIRST)
PARALLEL_EMBEDDING = Rule("transformer.vocab_embedding.weight", ("embedding",), shares.padded, stage=FIRST)
HEAD = (
    Rule("transformer.ln_f.weight", ("final_norm",), shares.whole, stage=LAST),
    # of a tied model both are written: versions differ in whether they look for one or for two
    Rule("lm_head.weight", ("head",), shares.padded, stage=LAST, instead="embedding"),
)
ATTENTION = (
    Rule(f"{_LAYER}.input_layernorm.weight", ("input_norm",), shares.whole),
    Rule(f"{_LAYER}.attention.qkv.weight", ("query", "key", "value"), shares.heads),
    Rule(f"{_LAYER}.attention.qkv.bias", ("query_bias", "key_bias", "value_bias"), shares.heads),
    Rule(f"{_LAYER}.attention.q_layernorm.weight", ("query_norm",), shares.whole),
    Rule(f"{_LAYER}.attention.k_layernorm.weight", ("key_norm",), shares.whole),
    Rule(f"{_LAYER}.attention.dense.weight", ("attention_output",), shares.inputs),
    # added once, after the ranks' parts have been summed
    Rule(f"{_LAYER}.attention.dense.bias", ("attention_output_bias",), shares.whole),
    Rule(f"{_LAYER}.post_layernorm.weight", ("post_attention_norm",), shares.whole),
)
FEED_FORWARD = (
    # fc is what the activation is applied to: the gate of everyone else
    Rule(f"{_LAYER}.mlp.fc.weight", ("gate",), shares.outputs),
    Rule(f"{_LAYER}.mlp.fc.bias", ("gate_bias",), shares.outputs),
    Rule(f"{_LAYER}.mlp.gate.weight", ("up",), shares.outputs),
    Rule(f"{_LAYER}.mlp.gate.bias", ("up_bias",), shares.outputs),
    Rule(f"{_LAYER}.mlp.proj.weight", ("down",), shares.inputs),
    Rule(f"{_LAYER}.mlp.proj.bias", ("down_bias",), shares.whole),
)
EXPERTS = (
    Rule(f"{_LAYER}.mlp.router.weight", ("router",), shares.whole, dtype="F32"),
    # swiglu applies its activation to the second half
    Rule(f"{_LAYER}.mlp.fc.weight", ("expert_up", "expert_gate"), shares.expert_outputs, experts=True),
    Rule(f"{_LAYER}.mlp.proj.weight", ("expert_down",), shares.expert_inputs, experts=True),
)
DENSE = (*ATTENTION, *FEED_FORWARD, *HEAD)
MIXTURE = (*ATTENTION, *EXPERTS, *HEAD)
