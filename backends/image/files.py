"""Bytes of a file to an image, guarded: what is sent may be anything."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")

ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held; 1 is upright."""


@dataclass(frozen=True)
class Limits:
    """The most `bytes` of a file, and the most `pixels` of an image once it is decoded or resized."""

    bytes: int = 50_000_000
    pixels: int = 50_000_000


def open_image(data: bytes, limits: Limits) -> Any:
    """Return the first frame of a file as an upright RGB image of Pillow, as transformers' load_image does.

    Raises:
        ValueError: it is no image, is damaged, or is larger than the limits.
    """
    if len(data) > limits.bytes:
        raise ValueError(f"{len(data)} bytes, at most {limits.bytes} are read; send a smaller file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"more than {limits.pixels} pixels; send a smaller image") from error
    except Exception as error:
        raise ValueError(
            f"{len(data)} bytes that are no image; send the bytes of a file in one of the formats "
            f"{', '.join(FORMATS)}"
        ) from error
    require_pixels(image.size, limits, "are decoded")
    try:
        image.load()
        turned = image.getexif().get(ORIENTATION, 1) != 1
        upright = ImageOps.exif_transpose(image) if turned else image
        return upright if upright.mode == "RGB" else upright.convert("RGB")
    except Exception as error:
        raise ValueError(
            f"the {image.format} file is damaged or not whole: {error}; send it as it was written"
        ) from error


def require_pixels(size: tuple[int, int], limits: Limits, what: str) -> None:
    """Raise ValueError where a (width, height) has more pixels than the limit."""
    width, height = size
    if width * height > limits.pixels:
        raise ValueError(f"{width} x {height} pixels, at most {limits.pixels} {what}; send a smaller image")
