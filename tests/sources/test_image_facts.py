"""The size in which images reach the graph, as planned, against transformers' own processors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builder import facts
from builder.errors import SourceError

CONFIG = {"model_type": "vit", "id2label": {"0": "cat", "1": "dog"}, "image_size": 96}
SQUARE, SHORTEST = {"height": 40, "width": 56}, {"shortest_edge": 48}
CROP = {"height": 24, "width": 32}


def write(folder: Path, told: dict[str, Any], model_type: str = "vit") -> dict[str, Any]:
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    config = CONFIG | {"model_type": model_type}
    (folder / "config.json").write_text(json.dumps(config))
    return config


def planned(folder: Path, config: dict[str, Any]) -> tuple[int, int, int]:
    return facts.read("image_classification", config, folder).image


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "told",
    [
        {},
        {"size": SQUARE},
        {"size": SQUARE, "do_center_crop": True, "crop_size": CROP},
        {"size": SHORTEST},
        {"size": SHORTEST, "crop_size": CROP},
        {"size": SHORTEST, "crop_size": CROP, "do_center_crop": None},
        {"size": {"shortest_edge": 384}},
        {"size": {"shortest_edge": 64}, "crop_pct": 0.5},
        {"do_resize": False, "crop_size": CROP},
        {"do_resize": False, "do_center_crop": True, "crop_size": 20},
        {"size": SQUARE, "do_center_crop": False},
        {"crop_size": 28},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["ViT", "DeiT", "ConvNext", "Bit", "CLIP", "Siglip"])
def test_what_a_file_leaves_out_is_as_in_its_class(kind: str, told: dict[str, Any], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = write(tmp_path, {**told, "image_processor_type": f"{kind}ImageProcessor"})
    known = getattr(transformers, f"{kind}ImageProcessorPil", None)
    processor = (known or getattr(transformers, f"{kind}ImageProcessor"))(**told)
    made = set()
    for size in ((50, 70), (70, 50)):
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        try:
            made.add(np.asarray(processor(image, return_tensors="np")["pixel_values"]).shape[1:])
        except Exception as error:
            pytest.skip(f"transformers itself takes no such fields: {error}")
    if len(made) == 1:
        assert planned(tmp_path, config) == made.pop()
    else:
        with pytest.raises(SourceError, match="images of different sizes"):
            planned(tmp_path, config)


@pytest.mark.parametrize(
    ("model_type", "told", "size"),
    [
        ("vit", {"size": 40}, (40, 40)),
        ("resnet", {"size": 40}, (40, 40)),
        ("convnext", {"crop_pct": 0.5}, (384, 384)),
    ],
)
def test_a_file_that_names_no_class_is_of_its_family(
    model_type: str, told: dict[str, Any], size: tuple[int, int], tmp_path: Path
) -> None:
    config = write(tmp_path, told, model_type)
    assert planned(tmp_path, config) == (3, *size)
    assert facts.preprocessor(config, tmp_path)["image_processor_type"].startswith(
        "ViT" if model_type == "vit" else "ConvNext"
    )


def test_without_a_file_the_config_says_it(tmp_path: Path) -> None:
    assert planned(tmp_path, CONFIG) == (3, 96, 96)
    assert facts.preprocessor(CONFIG, tmp_path) == {}


def test_a_class_that_is_not_known_is_refused_before_anything_is_converted(tmp_path: Path) -> None:
    config = write(tmp_path, {"image_processor_type": "PoolFormerImageProcessor"})
    with pytest.raises(SourceError, match="PoolFormerImageProcessor; expected one of ViTImageProcessor"):
        planned(tmp_path, config)
