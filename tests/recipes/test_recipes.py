"""The recipes measure what their authors published."""

import pytest

from builder import encoder, recipe, source
from builder.errors import SourceError, UsageError
from builder.quantization import Limits

LIMITS = "[limits.int4]\nperplexity = 1.6\ndivergence = 0.6\nagreement = 0.5\n"

PUBLISHED = {
    "smollm2": 134_515_008,
    "llama-8b": 8_030_261_248,
    "llama-70b": 70_553_706_496,
    "qwen-7b": 7_615_616_512,
    "mistral-7b": 7_248_023_552,
}
SINGLE_PASS = {
    # the published counts hold a pooler that no answer goes through: 384 x 384 + 384
    "minilm": 22_713_216 - 147_840,
    "bge-small": 33_360_000 - 147_840,
    "bert-ner": 107_726_601,
    "bge-reranker": 278_044_417,
    "distilbert-sst2": 66_955_010,
    "vit-base": 86_567_656,
}

OWN = """
description = "mine"
licence = "none"
checkpoint = "./mine"
[defaults]
target = "onnx"
[config]
model_type = "llama"
vocab_size = 10
hidden_size = 8
intermediate_size = 16
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 32
"""


def test_every_recipe_has_a_published_count():
    assert set(recipe.names()) >= PUBLISHED.keys() | SINGLE_PASS.keys()


@pytest.mark.parametrize(("name", "parameters"), (PUBLISHED | SINGLE_PASS).items())
def test_parameters(name, parameters):
    assert recipe.load(name).dimensions().parameters == parameters


@pytest.mark.parametrize("name", PUBLISHED)
def test_defaults(name):
    found = recipe.load(name)
    assert found.name == name
    assert found.target == "onnx"
    assert found.chat
    assert (found.pipeline, found.max_tokens, found.truncate) == ("text_generation", None, False)
    assert (found.quantize, found.precision) == (("int4", "fp32") if name == "smollm2" else (None, "bf16"))


@pytest.mark.parametrize(
    ("name", "pipeline", "max_tokens"),
    [
        ("minilm", "embedding", 256),
        ("bge-small", "embedding", 512),
        ("bge-reranker", "reranking", 512),
        ("distilbert-sst2", "classification", 512),
        ("bert-ner", "token_classification", 512),
        ("vit-base", "image_classification", None),
    ],
)
def test_defaults_of_one_pass(name, pipeline, max_tokens):
    found = recipe.load(name)
    assert (found.target, found.quantize, found.pipeline) == ("onnxruntime", "fp32", pipeline)
    assert (found.max_tokens, found.truncate, found.chat) == (max_tokens, False, False)
    assert encoder.pipeline(found.config, is_sentence_transformer=False) == pipeline
    assert (max_tokens or 1) <= found.dimensions().context_length


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SINGLE_PASS)
def test_transformers_reads_the_same_of_a_recipe(name):
    import torch
    import transformers

    found = recipe.load(name)
    kind = getattr(transformers, found.config["architectures"][0])
    fields = {key: value for key, value in found.config.items() if key not in ("model_type", "architectures")}
    with torch.device("meta"):
        model = kind(transformers.AutoConfig.for_model(found.model_type, **fields))
    pooler = {"minilm": 147_840, "bge-small": 147_840}.get(name, 0)
    assert sum(one.numel() for one in model.parameters()) == SINGLE_PASS[name] + pooler


def test_labels():
    assert recipe.load("distilbert-sst2").labels == ("NEGATIVE", "POSITIVE")
    assert recipe.load("bert-ner").labels[:3] == ("O", "B-MISC", "I-MISC")
    assert len(recipe.load("bert-ner").labels) == 9
    assert recipe.load("bge-reranker").labels == ("LABEL_0",)
    assert recipe.load("vit-base").labels == ()
    assert recipe.load("smollm2").labels == ()


def test_a_recipe_agrees_with_its_checkpoint():
    found = recipe.load("minilm")
    held = source.open_checkpoint(found.checkpoint).config
    assert {key: held.get(key) for key in found.config} == dict(found.config)


def test_key_value_bytes_per_token_of_llama_8b():
    found = recipe.load("llama-8b").dimensions()
    assert 2 * found.layers * found.key_value_heads * found.head_size * 2 == 131_072


def test_mistral_has_no_window():
    found = recipe.load("mistral-7b")
    assert found.config["sliding_window"] is None
    assert found.dimensions().sliding_window is None


def test_own_recipe_by_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(OWN)
    found = recipe.load(path)
    assert (found.name, found.checkpoint, found.dimensions().heads) == ("mine", "./mine", 2)
    # embedding and head 10*8, attention 4*64, feed-forward 3*128, norms 3*8
    assert found.dimensions().parameters == 2 * 80 + 256 + 384 + 24


def test_own_recipe_of_an_encoder(tmp_path):
    path = tmp_path / "mine.toml"
    defaults = 'target = "onnxruntime"\npipeline = "embedding"\nmax_tokens = 16\ntruncate = true'
    text = OWN.replace('target = "onnx"', defaults).replace('"llama"', '"xlm-roberta"')
    path.write_text(text)
    found = recipe.load(path)
    assert (found.pipeline, found.max_tokens, found.truncate) == ("embedding", 16, True)
    assert not found.chat
    assert found.dimensions().context_length == 30


def test_a_family_that_does_not_exist_is_told_by_its_dimensions(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(OWN.replace('"llama"', '"gpt9"'))
    with pytest.raises(SourceError, match="gpt9"):
        recipe.load(path).dimensions()


def test_unknown_name():
    with pytest.raises(UsageError) as caught:
        recipe.load("llama-8")
    assert "llama-8b" in caught.value.remedy
    assert all(name in caught.value.expected for name in PUBLISHED)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('licence = "none"', "", "lacks licence"),
        ('licence = "none"', 'licence = "none"\nrevison = "x"', "did you mean 'revision'"),
        ('target = "onnx"', "", "lacks defaults.target"),
        ('target = "onnx"', 'target = "onnx"\nquantise = "int4"', "did you mean 'defaults.quantize'"),
        ('target = "onnx"', "target = 3", "target is 3"),
        ('licence = "none"', "licence = [", "not valid TOML"),
        (
            'target = "onnx"',
            'target = "onnx"\npipeline = "embedding"',
            "pipeline is 'embedding', which no llama",
        ),
        ('target = "onnx"', 'target = "onnx"\npipeline = "text_generator"', "did you mean 'text_generation'"),
        ('target = "onnx"', 'target = "onnx"\npipelines = "x"', "did you mean 'defaults.pipeline'"),
        ('target = "onnx"', 'target = "onnx"\nmax_tokens = "256"', "max_tokens is '256'"),
        ('target = "onnx"', 'target = "onnx"\nmax_tokens = true', "max_tokens is True"),
        ('target = "onnx"', 'target = "onnx"\nmax_tokens = 0', "max_tokens is 0"),
        ('target = "onnx"', 'target = "onnx"\ntruncate = 1', "truncate is 1"),
        ('licence = "none"', 'licence = "none"\nchat = 1', "chat is 1"),
        ('licence = "none"', 'licence = "none"\nlimits = 1', "limits is 1"),
        ('licence = "none"', 'licence = "none"\nlimits = {int4 = 1}', "tables such as .limits.int4."),
        ("[config]", "[limits.int3]\n[config]", "did you mean 'int4'|did you mean 'int8'"),
        ("[config]", "[limits.int4]\nperplexty = 2\n[config]", "did you mean 'perplexity'"),
        ("[config]", "[limits.int4]\nperplexity = 2\n[config]", "divergence is None"),
        ("[config]", f"{LIMITS.replace('0.6', 'nan')}[config]", "divergence is nan"),
        ("[config]", f"{LIMITS.replace('0.5', 'true')}[config]", "agreement is True"),
    ],
)
def test_bad_recipe(tmp_path, old, new, said):
    path = tmp_path / "mine.toml"
    path.write_text(OWN.replace(old, new))
    with pytest.raises(UsageError, match=said.replace("'", ".")):
        recipe.load(path)


def test_recipe_without_a_field_of_its_config(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(OWN.replace("hidden_size = 8\n", "").replace("vocab_size = 10\n", ""))
    with pytest.raises(SourceError, match="vocab_size, hidden_size"):
        recipe.load(path).dimensions()


def test_limits_of_its_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(OWN.replace("[config]", f"{LIMITS}[config]"))
    assert recipe.load(path).limits == {"int4": Limits(perplexity=1.6, divergence=0.6, agreement=0.5)}
    assert recipe.load("llama-8b").limits == {}


def test_absent_file(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        recipe.load(tmp_path / "none.toml")
