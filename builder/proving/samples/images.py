"""Images: pictures of several sizes, colours and file formats, and pixels at random."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from builder import house
from builder.proving.sample import Array, Asked, Case, Samples, plain, transformers_reference
from builder.proving.samples.texts import best_label

LAYOUTS = ("one after the other",)
_RANDOM = 24
_PICTURES = (
    ("PNG", "RGB", (224, 224)),
    ("PNG", "RGBA", (300, 200)),
    ("PNG", "L", (64, 480)),
    ("PNG", "P", (257, 255)),
    ("JPEG", "RGB", (640, 480)),
    ("JPEG", "L", (31, 33)),
    ("JPEG", "CMYK", (200, 100)),
    ("WEBP", "RGB", (320, 240)),
    ("GIF", "P", (50, 50)),
    ("BMP", "RGB", (8, 8)),
)


def reference(asked: Asked) -> str:
    """Return the version of transformers, which answers for the source."""
    return transformers_reference()


def samples(asked: Asked) -> Samples:
    """Return pictures prepared by transformers and random pixels, with the source's scores."""
    from PIL import Image
    from transformers import AutoImageProcessor

    answer = house.plugin("proving.originals", asked.exporter, option="exporter").load(
        asked.source, asked.pipeline
    )
    processor = AutoImageProcessor.from_pretrained(asked.source, use_fast=False)
    cases, asks = [], []
    for number, picture in enumerate(_PICTURES):
        data = _picture(number, *picture)
        with Image.open(io.BytesIO(data)) as image:
            pixels = processor(image.convert("RGB"), return_tensors="np")["pixel_values"][0]
        name = f"{picture[0]} {picture[1]} {picture[2][0]} x {picture[2][1]}"
        case = Case(name, np.asarray(pixels, np.float32), answer(pixels))
        cases.append(case)
        outputs = {asked.main: plain(case.expected), **best_label(case.expected, asked.labels)}
        inputs = {"image": [{"base64": base64.b64encode(data).decode()}]}
        asks.append({"id": name, "inputs": inputs, "outputs": outputs})
    chance = np.random.default_rng(0)
    shape = cases[0].given.shape
    for number in range(_RANDOM):
        pixels = chance.normal(size=shape).astype(np.float32)
        cases.append(Case(f"random pixels {number}", pixels, answer(pixels)))
    return Samples(cases, asks, _refused())


def feeds(cases: Sequence[Case], layout: str) -> dict[str, Array]:
    """Return the pixels [images, channels, height, width]."""
    return {"pixel_values": np.stack([case.given for case in cases])}


def split(output: Array, cases: Sequence[Case]) -> list[Array]:
    """Return the scores of each image."""
    return list(output)


def _picture(number: int, kind: str, mode: str, size: tuple[int, int]) -> bytes:
    """Return a file with smooth colours and some noise, the same on every machine."""
    from PIL import Image

    chance = np.random.default_rng(number)
    across, down = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    layers = np.stack([across, down, (across + down) / 2], axis=-1) + chance.normal(
        0, 8, (size[1], size[0], 3)
    )
    image = Image.fromarray(layers.clip(0, 255).astype(np.uint8)).convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


def _refused() -> list[dict[str, Any]]:
    def asked(name: str, data: bytes) -> dict[str, Any]:
        given = {"image": [{"base64": base64.b64encode(data).decode()}]}
        return {"id": name, "inputs": given, "mentions": ["image"]}

    whole = _picture(0, "PNG", "RGB", (64, 64))
    return [asked("no image", b"not an image"), asked("half an image", whole[: len(whole) // 2])]
