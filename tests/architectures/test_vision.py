"""Image classifiers: their tensors as transformers names them, and numbers worked by hand."""

import pytest
import single_pass

from builder import architecture
from builder.errors import SourceError

HEAD = "ForImageClassification"
VARIANTS = [
    *((name, {}) for name in single_pass.VISION),
    ("vit", {"qkv_bias": False, "num_channels": 1}),
    ("vit", {"image_size": [32, 16], "patch_size": [8, 4]}),
    ("resnet", {"layer_type": "basic"}),
    ("resnet", {"downsample_in_first_stage": True, "hidden_sizes": [8, 8]}),
    ("resnet", {"layer_type": "basic", "hidden_sizes": [8, 32], "downsample_in_bottleneck": True}),
    ("convnext", {"layer_scale_init_value": 0.0, "patch_size": 2}),
    ("convnext", {"num_channels": 1}),
]


def processor_of(model_type):
    """Return the class that transformers takes for a checkpoint that names none."""
    automatic = pytest.importorskip("transformers.models.auto.image_processing_auto")
    found = automatic.IMAGE_PROCESSOR_MAPPING_NAMES[model_type]
    # until transformers 5: the slow class and the fast one
    name = found["pil"] if isinstance(found, dict) else found[0]
    return name.removesuffix("Pil")


@pytest.mark.parametrize("model_type", single_pass.VISION)
def test_every_family_keeps_the_protocol(model_type):
    family = architecture.load(model_type)
    assert family.HUGGING_FACE_CLASS.endswith(HEAD)
    assert family.PIPELINES == ("image_classification",)
    assert family.EXPORTER == "image_encoder"
    assert processor_of(model_type) == family.IMAGE_PROCESSOR
    found = family.dimensions(single_pass.config(model_type, HEAD))
    assert found.context_length == 1
    assert found.activation_elements(1) == found.activation_elements(50) > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("model_type", "extra"), VARIANTS)
def test_tensors_and_count_as_in_transformers(model_type, extra, tmp_path):
    import transformers
    from safetensors import safe_open

    small = single_pass.VISION[model_type] | extra
    options = transformers.AutoConfig.for_model(model_type, **small, num_labels=3)
    model = transformers.AutoModelForImageClassification.from_config(options)
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "numpy") as file:
        held = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    saved = options.to_dict() | {"architectures": [type(model).__name__]}
    family = architecture.load(model_type)
    # a counter of training steps, which no inference reads
    needed = {name: shape for name, shape in held.items() if not name.endswith("num_batches_tracked")}
    assert architecture.expected_tensors(family, saved, "safetensors", held) == needed
    found = family.dimensions(saved)
    assert found.parameters == sum(one.numel() for one in model.parameters())
    assert family.dimensions(single_pass.config(model_type, HEAD, num_labels=3, **extra)) == found


@pytest.mark.parametrize("model_type", single_pass.VISION)
def test_a_model_without_its_classifier_is_of_no_use(model_type):
    plain = single_pass.shapes(single_pass.config(model_type))
    assert plain == single_pass.shapes(single_pass.config(model_type, HEAD))
    assert any(name.startswith("classifier.") for name in plain)


def test_vit_by_hand():
    found = architecture.load("vit").dimensions(single_pass.config("vit", HEAD, num_labels=3))
    embeddings = 32 + 17 * 32 + (32 * 3 * 8 * 8 + 32)
    layer = 4 * (32 * 32 + 32) + (48 * 32 + 48) + (32 * 48 + 32) + 4 * 32
    assert found.parameters == embeddings + 2 * layer + 2 * 32 + (3 * 32 + 3)
    assert (found.image_size, found.channels, found.hidden_size, found.layers) == ((32, 32), 3, 32, 2)
    # 4 x 4 patches and the token of the image
    assert found.widest == 4 * 17 * 32 + 2 * 4 * 17**2


def test_resnet_by_hand():
    found = architecture.load("resnet").dimensions(single_pass.config("resnet", HEAD, num_labels=3))
    assert (found.image_size, found.hidden_size, found.layers) == ((224, 224), 32, 4)
    # the image and the stem's output at half its sides
    assert found.widest == 3 * 224 * 224 + 8 * 112 * 112
    wide = single_pass.config("resnet", HEAD, hidden_sizes=[512, 1024], image_size=[32, 30])
    # the end of the first stage's blocks: twice 512 channels and once 128, at a quarter of the sides
    assert architecture.load("resnet").dimensions(wide).widest == (2 * 512 + 128) * 8 * 8


def test_convnext_by_hand():
    found = architecture.load("convnext").dimensions(single_pass.config("convnext", HEAD, num_labels=3))
    assert (found.image_size, found.hidden_size, found.layers) == ((32, 32), 16, 4)
    # the second stage has twice the channels on a quarter of the places
    assert found.widest == 9 * 8 * 8 * 8
    thin = single_pass.config("convnext", HEAD, hidden_sizes=[2, 4])
    assert architecture.load("convnext").dimensions(thin).widest == max(3 * 32 * 32 + 2 * 64, 9 * 2 * 64)


@pytest.mark.parametrize(
    ("model_type", "extra", "said"),
    [
        ("vit", {"hidden_size": None}, "lacks hidden_size"),
        ("vit", {"image_size": [32, 32, 3]}, "image_size is [32, 32, 3]"),
        ("vit", {"patch_size": 0}, "patch_size is 0"),
        ("resnet", {"layer_type": "wide"}, "layer_type is 'wide'"),
        ("resnet", {"depths": [1]}, "depths is [1]"),
        ("resnet", {"hidden_sizes": []}, "hidden_sizes is []"),
        ("convnext", {"depths": "12"}, "depths is '12'"),
        ("convnext", {"depths": [1, 0]}, "depths is 0"),
    ],
)
def test_impossible_values(model_type, extra, said):
    with pytest.raises(SourceError) as caught:
        architecture.load(model_type).dimensions(single_pass.config(model_type, HEAD, **extra))
    assert said in caught.value.found
