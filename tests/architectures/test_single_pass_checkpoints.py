"""A checkpoint of an encoder or an image classifier is refused where one tensor is missing or misshapen."""

import pytest
import single_pass

from builder import architecture
from builder.errors import SourceError
from builder.source import open_checkpoint

CASES = [
    *((name, end) for name in single_pass.ENCODERS for end in ("", "ForSequenceClassification")),
    *((name, "ForImageClassification") for name in single_pass.VISION),
]
PLAIN = [(name, end) for name, end in CASES if not end]


def refused(folder, *said):
    with pytest.raises(SourceError) as caught:
        open_checkpoint(folder)
    assert caught.value.remedy
    for text in said:
        assert text in caught.value.sentence()


@pytest.mark.parametrize(("model_type", "end"), CASES)
def test_every_tensor_is_needed(model_type, end, tmp_path):
    config = single_pass.config(model_type, end)
    tensors = single_pass.shapes(config)
    folder = single_pass.write(tmp_path / "model", config, tensors)
    assert set(open_checkpoint(folder).tensors) == set(tensors)
    for lost in tensors:
        lesser = {name: shape for name, shape in tensors.items() if name != lost}
        refused(single_pass.write(folder, config, lesser), f"lacks the tensor {lost}")


@pytest.mark.parametrize(("model_type", "end"), CASES)
def test_without_the_prefix(model_type, end, tmp_path):
    config = single_pass.config(model_type, end)
    bare = single_pass.shapes(config, prefixed=False)
    prefixed = single_pass.shapes(config)
    prefix = architecture.load(model_type).PREFIX
    assert {name.removeprefix(f"{prefix}.") for name in prefixed} == set(bare)
    assert open_checkpoint(single_pass.write(tmp_path / "model", config, bare)).model_type == model_type


@pytest.mark.parametrize(("model_type", "end"), PLAIN)
def test_either_spelling_but_not_both(model_type, end, tmp_path):
    config = single_pass.config(model_type, end)
    bare, prefixed = single_pass.shapes(config, prefixed=False), single_pass.shapes(config)
    half = len(bare) // 2
    mixed = dict([*list(bare.items())[:half], *list(prefixed.items())[half:]])
    refused(single_pass.write(tmp_path / "model", config, mixed), "lacks the tensor")


def test_the_names_of_tensorflow(tmp_path):
    config = single_pass.config("bert")
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): shape
        for name, shape in single_pass.shapes(config).items()
    }
    folder = single_pass.write(tmp_path / "model", config, tensors)
    assert len(open_checkpoint(folder).tensors) == len(tensors)
    del tensors["bert.encoder.layer.1.output.LayerNorm.beta"]
    refused(single_pass.write(folder, config, tensors), "layer.1.output.LayerNorm.beta")


def test_more_than_the_body_is_no_matter(tmp_path):
    config = single_pass.config("bert")
    tensors = single_pass.shapes(config) | {"cls.predictions.bias": (96,), "bert.pooler.dense.bias": (32,)}
    assert open_checkpoint(single_pass.write(tmp_path / "model", config, tensors)).tensors.keys() == set(
        tensors
    )


def test_a_shape_that_contradicts_the_config(tmp_path):
    config = single_pass.config("distilbert", "ForSequenceClassification", num_labels=5)
    tensors = single_pass.shapes(config) | {"classifier.weight": (2, 32)}
    refused(single_pass.write(tmp_path / "model", config, tensors), "shape [2, 32]", "[5, 32]")


@pytest.mark.parametrize(("model_type", "field"), [("bert", "num_hidden_layers"), ("distilbert", "n_layers")])
def test_a_config_of_far_too_many_layers(model_type, field, tmp_path):
    config = single_pass.config(model_type)
    tensors = single_pass.shapes(config)
    refused(
        single_pass.write(tmp_path / "model", config | {field: 10**30}, tensors),
        f"{10**30} layers",
        f"{len(tensors)} tensors",
    )


def test_a_stage_of_far_too_many_layers(tmp_path):
    config = single_pass.config("resnet", "ForImageClassification")
    tensors = single_pass.shapes(config)
    refused(
        single_pass.write(tmp_path / "model", config | {"depths": [1, 10**30]}, tensors), "layers and holds"
    )


def test_gguf_of_an_encoder():
    config = single_pass.config("bert")
    with pytest.raises(SourceError) as caught:
        architecture.expected_tensors(architecture.load("bert"), config, "gguf", ())
    assert "GGUF file of a bert" in caught.value.found
    assert "safetensors" in caught.value.expected


@pytest.mark.parametrize(("numbers", "is_read"), [(32 * 32 // 2, True), (32 * 32, False)])
def test_a_quantised_encoder_is_read_with_the_shapes_that_it_has(tmp_path, numbers, is_read):
    config = single_pass.config("bert", quantization_config={"quant_method": "bitsandbytes"})
    shapes = architecture.expected_tensors(architecture.load("bert"), config, "safetensors", ())
    name = next(name for name, shape in shapes.items() if name.endswith("query.weight"))
    assert shapes[name] == (32, 32)
    packed = {**shapes, name: (numbers, 1), f"{name}.absmax": (16,)}
    folder = single_pass.write(tmp_path / "model", config, packed)
    if is_read:
        assert set(open_checkpoint(folder).tensors) == set(packed)
    else:
        with pytest.raises(SourceError, match="weight of shape"):
            open_checkpoint(folder)
