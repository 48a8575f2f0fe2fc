"""The families read their configs as transformers does, and name the tensors transformers makes."""

import math
import re

import pytest

from builder import architecture, house
from builder.errors import SourceError

SMALL = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
DECODERS = [name for name in architecture.names() if architecture.generates_text(architecture.load(name))]
VARIANTS = [
    ("llama", {}),
    ("llama", {"tie_word_embeddings": True}),
    ("llama", {"attention_bias": True}),
    ("llama", {"mlp_bias": True, "head_dim": 16}),
    ("mistral", {"sliding_window": None}),
    ("mistral", {"head_dim": 16}),
    ("qwen2", {"tie_word_embeddings": True}),
    ("qwen2", {}),
    ("qwen3", {}),
    ("qwen3", {"attention_bias": True, "head_dim": 8}),
    ("mixtral", {"num_local_experts": 3}),
    ("mixtral", {"head_dim": 16, "tie_word_embeddings": True}),
]
EXPERT = re.compile(r"model\.layers\.(\d)\.block_sparse_moe\.experts\.\d\.w[123]\.weight")


def test_the_families():
    assert DECODERS == ["llama", "mistral", "mixtral", "qwen2", "qwen3"]
    others = set(architecture.names()) - set(DECODERS)
    assert others >= {"bert", "distilbert", "roberta", "xlm_roberta", "mpnet", "deberta_v2", "modernbert"}
    assert others >= {"vit", "resnet", "convnext"}


@pytest.mark.parametrize("name", architecture.names())
def test_every_family_names_its_pipelines_and_its_exporter(name):
    family = architecture.load(name)
    pipelines = {path.stem for path in house.folder("ensembles").glob("*.py")}
    assert set(family.PIPELINES) <= pipelines
    assert bool(family.EXPORTER) != architecture.generates_text(family)
    if family.EXPORTER:
        assert family.EXPORTER in house.plugin_names("exporting")


@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_keeps_the_protocol(name):
    family = architecture.load(name)
    assert family.HUGGING_FACE_CLASS.endswith("ForCausalLM")
    assert family.PIPELINES == ("text_generation",)
    assert family.EXPORTER == ""
    assert not family.GGUF or family.HUGGING_FACE.keys() == family.GGUF.keys()
    assert family.GGUF_PERMUTED.issubset(family.GGUF)
    assert family.dimensions(SMALL).vocabulary_size == 96


@pytest.mark.slow
@pytest.mark.parametrize(("name", "extra"), VARIANTS)
def test_tensors_and_count_as_in_transformers(name, extra):
    import torch
    import transformers

    family = architecture.load(name)
    config = transformers.AutoConfig.for_model(name, **SMALL, **extra)
    with torch.device("meta"):
        model = getattr(transformers, family.HUGGING_FACE_CLASS)(config)
    dimensions = family.dimensions(SMALL | extra)
    expected = {
        key for key in model.state_dict() if not (extra.get("tie_word_embeddings") and "lm_head" in key)
    }
    found = {tensor for _, _, tensor in architecture.tensor_names(family.HUGGING_FACE, dimensions)}
    if name == "mixtral":
        # transformers 5 stacks experts in memory, and writes them one by one as every version before
        found = {EXPERT.sub(r"model.layers.\1.mlp.experts", tensor) for tensor in found}
        expected = {re.sub(r"(experts)\.(gate_up|down)_proj$", r"\1", tensor) for tensor in expected}
        found = {tensor.replace("block_sparse_moe", "mlp") for tensor in found}
    assert found == expected
    assert dimensions.parameters == model.num_parameters()
    assert dimensions.sliding_window == (config.sliding_window if name == "mistral" else None)
    assert dimensions.norm_epsilon == config.rms_norm_eps
    assert dimensions == family.dimensions(config.to_dict())


def test_every_expert_has_its_tensors():
    family = architecture.load("mixtral")
    config = SMALL | {"num_local_experts": 3, "num_experts_per_tok": 2}
    shapes = architecture.expected_tensors(family, config, "safetensors", ())
    assert shapes["model.layers.1.block_sparse_moe.experts.2.w2.weight"] == (32, 48)
    assert shapes["model.layers.0.block_sparse_moe.gate.weight"] == (3, 32)
    assert not any("mlp." in name for name in shapes)
    # 2 layers x (q, o 32 x 32, k, v 16 x 32, 3 experts of 3 x 32 x 48, a router of 3 x 32, 2 norms of 32),
    # embedding and head of 96 x 32, a norm of 32
    assert family.dimensions(config).parameters == 2 * (2 * 1024 + 2 * 512 + 13824 + 96 + 64) + 2 * 3072 + 32
    assert sum(math.prod(shape) for shape in shapes.values()) == family.dimensions(config).parameters


def test_more_experts_per_token_than_there_are():
    with pytest.raises(SourceError, match="9 of 8 experts"):
        architecture.load("mixtral").dimensions(SMALL | {"num_experts_per_tok": 9})


def test_missing_fields_are_all_named():
    with pytest.raises(SourceError) as caught:
        architecture.load("llama").dimensions({"vocab_size": 3, "hidden_size": None})
    for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
        assert name in caught.value.found
    assert "vocab_size" not in caught.value.found


@pytest.mark.parametrize("name", ["mistral", "mixtral", "qwen2", "qwen3"])
def test_key_value_heads_are_needed_where_no_default_is_certain(name):
    config = {key: value for key, value in SMALL.items() if key != "num_key_value_heads"}
    with pytest.raises(SourceError, match="num_key_value_heads"):
        architecture.load(name).dimensions(config)
    assert architecture.load("llama").dimensions(config).key_value_heads == 4


@pytest.mark.parametrize(
    ("field", "value"),
    [("hidden_size", 0), ("hidden_size", "32"), ("num_hidden_layers", True), ("vocab_size", 1.5),
     ("num_key_value_heads", 3), ("rope_theta", 0), ("rms_norm_eps", "small"), ("head_dim", -1)],
)  # fmt: skip
def test_impossible_values(field, value):
    with pytest.raises(SourceError, match=str(value)):
        architecture.load("llama").dimensions(SMALL | {field: value})


@pytest.mark.parametrize(
    ("name", "extra", "window"),
    [
        ("llama", {"sliding_window": 8}, None),
        ("mistral", {}, 4096),
        ("mistral", {"sliding_window": 8}, 8),
        ("mistral", {"sliding_window": None}, None),
        ("qwen2", {"sliding_window": 8}, None),
        ("qwen2", {"sliding_window": 8, "use_sliding_window": True}, 8),
        ("mixtral", {}, None),
        ("mixtral", {"sliding_window": 8}, 8),
        ("qwen3", {"sliding_window": 8, "use_sliding_window": True}, 8),
    ],
)
def test_windows(name, extra, window):
    assert architecture.load(name).dimensions(SMALL | extra).sliding_window == window


def test_a_window_that_cannot_be():
    with pytest.raises(SourceError, match="sliding_window is 0"):
        architecture.load("mistral").dimensions(SMALL | {"sliding_window": 0})


@pytest.mark.parametrize(
    ("extra", "theta"),
    [({}, 10000.0), ({"rope_theta": 5e5}, 5e5), ({"rope_parameters": {"rope_theta": 1e6}}, 1e6)],
)
def test_rope_theta_in_both_spellings(extra, theta):
    assert architecture.load("qwen3").dimensions(SMALL | extra).rope_theta == theta


def test_head_size_defaults():
    assert architecture.load("llama").dimensions(SMALL).head_size == 8
    assert architecture.load("qwen3").dimensions(SMALL).head_size == 128
    assert architecture.load("qwen3").dimensions(SMALL | {"head_dim": None}).head_size == 128


def test_unknown_family():
    with pytest.raises(SourceError) as caught:
        architecture.load("lama")
    assert "llama, mistral, mixtral, qwen2, qwen3; for one pass: bert, " in caught.value.expected
    assert "'llama'" in caught.value.remedy


@pytest.mark.parametrize("model_type", ["xlm-roberta", "xlm_roberta"])
def test_a_hyphen_is_an_underscore_in_the_file_name(model_type):
    assert architecture.load(model_type).HUGGING_FACE_CLASS == "XLMRobertaModel"
    with pytest.raises(SourceError) as caught:
        architecture.load("deberta-v4")
    assert "'deberta_v2'" in caught.value.remedy
