"""preprocessor_config.json: what an image processor of transformers does to an image, as numbers.

The defaults are those of transformers' classes; a file need not repeat them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BILINEAR, BICUBIC = 2, 3
"""Pillow's numbers of its filters."""

_HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_CLIP = {
    "resample": BICUBIC,
    "size": {"shortest_edge": 224},
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
CLASSES: Mapping[str, Mapping[str, Any]] = {
    "ViT": {**_HALF, "resample": BILINEAR, "size": {"height": 224, "width": 224}},
    "DeiT": {
        **_HALF,
        "resample": BICUBIC,
        "size": {"height": 256, "width": 256},
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
    },
    "ConvNext": {**_HALF, "resample": BICUBIC, "size": {"shortest_edge": 384}, "crop_pct": 224 / 256},
    "Bit": _CLIP,
    "CLIP": _CLIP,
    "Siglip": {**_HALF, "resample": BICUBIC, "size": {"height": 224, "width": 224}},
}
_EVERY = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}

WARPED = 384
"""From this edge on ConvNext's processor does not crop: it resizes to a square."""


@dataclass(frozen=True)
class Configuration:
    """How an image becomes pixels; sizes are (height, width).

    `exact` resizes to that size, `shortest` to that shorter edge, neither leaves the size alone; then the
    middle of size `crop` is cut out. A value v of 0 to 255 becomes (v * factor - mean) / deviation of its
    channel, without the factor or the normalisation where that is None.
    """

    exact: tuple[int, int] | None
    shortest: int | None
    crop: tuple[int, int] | None
    resample: int
    factor: float | None
    normalization: tuple[tuple[float, ...], tuple[float, ...]] | None

    @property
    def size(self) -> tuple[int, int]:
        """Return the size that every image comes out with."""
        size = self.crop or self.exact
        assert size is not None
        return size


def read(preprocessor: Mapping[str, Any]) -> Configuration:
    """Return what the fields of a preprocessor_config.json say.

    Raises:
        ValueError: it is of no class that is known here, or images would come out in different sizes.
    """
    name = _class(preprocessor)
    # null leaves a number to the class, but turns a step off
    said = {key: one for key, one in preprocessor.items() if one is not None or key.startswith("do_")}
    told = {**_EVERY, **CLASSES[name], **said}
    shortest, exact, crop = _resizing(name, told) if told["do_resize"] else (None, None, None)
    if told.get("do_center_crop"):
        crop = _pair("crop_size", told.get("crop_size"))
    if not crop and not exact:
        raise ValueError(
            "preprocessor_config.json gives images of different sizes; expected do_center_crop, or a size "
            "with height and width"
        )
    return Configuration(
        exact=exact,
        shortest=shortest,
        crop=crop,
        resample=int(told["resample"]),
        factor=float(told["rescale_factor"]) if told["do_rescale"] else None,
        normalization=(_channels(told["image_mean"]), _channels(told["image_std"]))
        if told["do_normalize"]
        else None,
    )


def _class(preprocessor: Mapping[str, Any]) -> str:
    told = preprocessor.get("image_processor_type") or preprocessor.get("feature_extractor_type") or "none"
    name = str(told)
    for suffix in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
        name = name.removesuffix(suffix)
    if name not in CLASSES:
        raise ValueError(
            f"preprocessor_config.json has image_processor_type {told}; expected one of "
            f"{', '.join(f'{known}ImageProcessor' for known in CLASSES)}"
        )
    return name


def _resizing(
    name: str, told: Mapping[str, Any]
) -> tuple[int | None, tuple[int, int] | None, tuple[int, int] | None]:
    """Return shortest, exact and crop."""
    size = told["size"]
    by_shortest = "shortest_edge" in CLASSES[name]["size"]
    if by_shortest and isinstance(size, int):
        size = {"shortest_edge": size}
    if not isinstance(size, Mapping) or "shortest_edge" not in size:
        return None, _pair("size", size), None
    if size.get("longest_edge"):
        raise ValueError(f"preprocessor_config.json has size {dict(size)}; expected no longest_edge")
    edge = int(size["shortest_edge"])
    if name != "ConvNext":
        return edge, None, None
    if edge >= WARPED:
        return None, (edge, edge), None
    return int(edge / told["crop_pct"]), None, (edge, edge)


def _pair(name: str, size: Any) -> tuple[int, int]:
    if isinstance(size, Mapping) and {"height", "width"} <= set(size):
        return int(size["height"]), int(size["width"])
    if isinstance(size, int):
        return size, size
    if isinstance(size, list) and len(size) == 2:
        return int(size[0]), int(size[1])
    raise ValueError(f"preprocessor_config.json has {name} {size}; expected height and width")


def _channels(told: Any) -> tuple[float, ...]:
    found = told if isinstance(told, list) else [told] * 3
    if len(found) != 3:
        raise ValueError(f"preprocessor_config.json has {told} for the channels; expected 3 numbers")
    return tuple(float(one) for one in found)
