"""The recipes measure what their authors published."""

import pytest

from builder import recipe
from builder.errors import SourceError, UsageError

PUBLISHED = {
    "smollm2": 134_515_008,
    "llama-8b": 8_030_261_248,
    "llama-70b": 70_553_706_496,
    "qwen-7b": 7_615_616_512,
    "mistral-7b": 7_248_023_552,
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
    assert recipe.names() == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters(name):
    assert recipe.load(name).dimensions().parameters == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_defaults(name):
    found = recipe.load(name)
    assert found.name == name
    assert found.target == "onnx"
    assert found.chat
    assert (found.quantize, found.precision) == (("int4", "fp32") if name == "smollm2" else (None, "bf16"))


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


def test_absent_file(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        recipe.load(tmp_path / "none.toml")
