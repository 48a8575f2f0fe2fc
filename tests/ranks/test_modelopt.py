"""Every rank equals, bit for bit, what NVIDIA's ModelOpt exports of the same model, where it supports it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import tiny_decoders

from builder.ranks.convert import Ranks, convert
from builder.ranks.division import Division

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        importlib.util.find_spec("modelopt") is None,
        reason="the reference is nvidia-modelopt==0.47.0: pip install -e .[tensorrtllm]",
    ),
]

WAYS = [
    *(("llama", {}, Division(tensor)) for tensor in (1, 2, 4, 8)),
    ("llama", {}, Division(2, 2)),
    ("llama", {"tie_word_embeddings": True}, Division(2)),
    ("llama", {"tie_word_embeddings": True, "vocab_size": 97}, Division(4)),
    *(("llama", {"vocab_size": 97}, Division(tensor)) for tensor in (1, 2, 4, 8)),
    ("llama", {"attention_bias": True, "mlp_bias": True}, Division(2)),
    ("llama", {"num_key_value_heads": 8}, Division(4)),
    ("llama", {"num_key_value_heads": 1}, Division(8)),
    *(("mistral", {"head_dim": 16, "sliding_window": 8}, Division(tensor)) for tensor in (1, 2, 4, 8)),
    # of fewer experts than ranks it pads the wrong side of their matrices
    *(("mixtral", {"num_local_experts": 8}, Division(tensor)) for tensor in (1, 2, 4, 8)),
    *(("qwen2", {}, Division(tensor)) for tensor in (1, 2, 4, 8)),
    ("qwen2", {"tie_word_embeddings": True, "vocab_size": 99}, Division(4, 2)),
    *(("qwen3", {"head_dim": 16}, Division(tensor)) for tensor in (1, 2, 8)),
]


def model_of(told: dict[str, Any], dtype: Any) -> Any:
    """Return transformers' model of a config, with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**told)
    model = transformers.AutoModelForCausalLM.from_config(config).to(dtype)
    for name, values in model.named_parameters():
        # biases and norms of a fresh model are all alike: what is wrongly placed would not show
        if values.dim() == 1:
            torch.nn.init.normal_(values)
        assert name
    model.config.architectures = [type(model).__name__]
    return model


def unstacked(model: Any) -> Any:
    """Give a Mixtral of transformers 5 the layers that it had before, which ModelOpt's export reads."""
    import torch

    class Expert(torch.nn.Module):
        def __init__(self, gate_up: Any, down: Any) -> None:
            super().__init__()
            for name, weight in zip(("w1", "w3", "w2"), (*gate_up.chunk(2), down), strict=True):
                layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
                layer.weight.data = weight.clone()
                setattr(self, name, layer)
            self.act_fn = torch.nn.SiLU()

    class MixtralSparseMoeBlock(torch.nn.Module):
        def __init__(self, block: Any) -> None:
            super().__init__()
            experts, weight = block.experts, block.gate.weight
            self.gate = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
            self.gate.weight.data = weight.data.clone()
            pairs = zip(experts.gate_up_proj.data, experts.down_proj.data, strict=True)
            self.experts = torch.nn.ModuleList(Expert(*pair) for pair in pairs)

    for layer in model.model.layers:
        layer.block_sparse_moe = MixtralSparseMoeBlock(layer.mlp)
        del layer.mlp
    return model


@pytest.mark.parametrize(("number", "way"), enumerate(WAYS))
def test_same_bits(number: int, way: tuple[str, dict[str, Any], Division], tmp_path: Path) -> None:
    import modelopt.torch.export as reference
    import torch
    from safetensors.torch import load_file

    (model_type, extra, division), dtype = way, ("float16", "bfloat16")[number % 2]
    model = model_of(tiny_decoders.config(model_type, **extra), getattr(torch, dtype))
    model.save_pretrained(tmp_path / "source")
    (tmp_path / "source" / "tokenizer.json").write_text("{}")
    if model_type == "mixtral":
        model = unstacked(model)
    reference.export_tensorrt_llm_checkpoint(
        model,
        "qwen" if model_type.startswith("qwen") else "llama",
        getattr(torch, dtype),
        tmp_path / "theirs",
        inference_tensor_parallel=division.tensor,
        inference_pipeline_parallel=division.pipeline,
    )
    convert(tmp_path / "source", tmp_path / "ours", Ranks(division, parallel_embedding=True))

    for rank in range(division.ranks):
        ours = load_file(tmp_path / "ours" / f"rank{rank}.safetensors")
        theirs = load_file(tmp_path / "theirs" / f"rank{rank}.safetensors")
        assert ours.keys() == theirs.keys()
        for name, values in theirs.items():
            assert ours[name].dtype == values.dtype, name
            assert ours[name].shape == values.shape, name
            width = torch.int16 if values.element_size() == 2 else torch.int32
            assert torch.equal(ours[name].view(width), values.view(width)), name
    compare_configs(tmp_path)


def compare_configs(folder: Path) -> None:
    """What both write says the same; what only they write is of their own, or has a default."""
    ours = json.loads((folder / "ours" / "config.json").read_text())
    theirs = json.loads((folder / "theirs" / "config.json").read_text())
    own = {"producer", "rank", "decoder", "rmsnorm", "lm_head_bias", "rotary_pct", "bias", "residual_mlp"}
    assert theirs.keys() - own - {"moe_num_experts", "moe_top_k", "moe_tp_mode"} <= ours.keys() | {
        "share_embedding_table"
    }
    for name in theirs.keys() & ours.keys() - {"logits_dtype", "mapping", "quantization", "moe"}:
        assert ours[name] == theirs[name], name
    assert theirs["mapping"].items() <= ours["mapping"].items()
    assert theirs["share_embedding_table"] is False
