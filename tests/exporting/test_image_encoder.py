"""Every family of image classifiers as one graph: images together are answered as each alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
transformers = pytest.importorskip("transformers")

from builder.errors import ConversionError  # noqa: E402
from builder.exporting import image_encoder  # noqa: E402

# torch warns of itself while it traces; a build does that in a process of its own
pytestmark = pytest.mark.filterwarnings("ignore")

LABELS = ["cat", "dog", "a house by the sea", "mug"]
FAMILIES: dict[str, dict[str, Any]] = {
    "vit": {
        "image_size": 32,
        "patch_size": 8,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    },
    "resnet": {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 2], "layer_type": "bottleneck"},
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 2], "num_stages": 2},
}
IMAGE = (3, 32, 32)


def checkpoint(family: str, folder: Path, **more: Any) -> Any:
    torch.manual_seed(5)
    config = transformers.AutoConfig.for_model(family, num_labels=len(LABELS), **FAMILIES[family], **more)
    model = transformers.AutoModelForImageClassification.from_config(config).eval()
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    # scores of untrained heads hardly differ: made to, so that a wrong one shows
    classifier = (
        model.classifier[-1] if isinstance(model.classifier, torch.nn.Sequential) else model.classifier
    )
    classifier.weight.data *= 30
    model.save_pretrained(folder)
    return model


def graph(folder: Path, precision: str = "fp32") -> Path:
    request = folder / "request.json"
    asked = {"source": str(folder), "pipeline": "image_classification", "precision": precision}
    more = {"image": list(IMAGE), "labels": LABELS, "output": "scores", "out": str(folder / "graph")}
    request.write_text(json.dumps(asked | more))
    image_encoder.main(request)
    return folder / "graph" / "model.onnx"


def images(count: int) -> Any:
    return np.random.default_rng(count).normal(size=(count, *IMAGE)).astype(np.float32)


@pytest.mark.parametrize("problem", [None, "multi_label_classification"])
@pytest.mark.parametrize("family", FAMILIES)
def test_images_are_answered_as_each_alone(family: str, problem: str | None, tmp_path: Path) -> None:
    model = checkpoint(family, tmp_path, problem_type=problem)
    encoder = image_encoder.ImageEncoder(tmp_path, "fp32").eval()
    pixels = torch.tensor(images(4))
    with torch.no_grad():
        logits = torch.cat([model(pixel_values=one[None]).logits for one in pixels])
        expected = torch.sigmoid(logits) if problem else torch.softmax(logits, dim=-1)
        np.testing.assert_allclose(encoder(pixels), expected, atol=1e-5)


@pytest.mark.parametrize(
    "family",
    ["vit", pytest.param("resnet", marks=pytest.mark.slow), pytest.param("convnext", marks=pytest.mark.slow)],
)
def test_so_does_the_graph(family: str, tmp_path: Path) -> None:
    model = checkpoint(family, tmp_path)
    session = onnxruntime.InferenceSession(graph(tmp_path))
    assert {one.name: one.shape[1:] for one in session.get_inputs()} == {"pixel_values": list(IMAGE)}
    assert {one.name: one.shape[1:] for one in session.get_outputs()} == {"scores": [4], "label": [1]}
    for count in range(1, 6):
        pixels = images(count)
        scores, labels = session.run(["scores", "label"], {"pixel_values": pixels})
        with torch.no_grad():
            expected = torch.softmax(model(pixel_values=torch.tensor(pixels)).logits, dim=-1)
        np.testing.assert_allclose(scores, expected, atol=1e-5)
        assert labels.tolist() == [[LABELS[best]] for best in expected.argmax(1)]


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "error"), [("fp16", 5e-3), ("int8", 5e-2)])
def test_fewer_bits(precision: str, error: float, tmp_path: Path) -> None:
    model = checkpoint("vit", tmp_path)
    session = onnxruntime.InferenceSession(graph(tmp_path, precision))
    pixels = images(3)
    (scores,) = session.run(["scores"], {"pixel_values": pixels})
    with torch.no_grad():
        expected = torch.softmax(model(pixel_values=torch.tensor(pixels)).logits, dim=-1)
    np.testing.assert_allclose(scores, expected, atol=error)
    assert not np.array_equal(scores, expected.numpy())


@pytest.mark.slow
def test_a_model_of_convolutions_has_no_int8(tmp_path: Path) -> None:
    checkpoint("resnet", tmp_path)
    with pytest.raises(ConversionError, match="no activation with a matrix"):
        graph(tmp_path, "int8")


def test_a_checkpoint_without_a_classifier_is_refused(tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model("vit", **FAMILIES["vit"])
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ConversionError, match="lacks classifier"):
        image_encoder.ImageEncoder(tmp_path, "fp32")
