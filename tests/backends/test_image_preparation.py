"""Files of images to pixels, against transformers' Pillow processors and against pixels worked by hand."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizer_folders import column

from backends.image import configuration
from backends.image.preparation import Preparation

VIT = {
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "size": 224,
    "feature_extractor_type": "ViTFeatureExtractor",
}
RESNET = {
    "crop_pct": 0.875,
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "resample": 3,
    "size": 224,
    "image_processor_type": "ConvNextFeatureExtractor",
}
PREPROCESSORS = {
    "vit-2021": VIT,
    "vit-now": {**VIT, "size": {"height": 96, "width": 64}, "image_processor_type": "ViTImageProcessorFast"},
    "vit-bare": {"image_processor_type": "ViTImageProcessor"},
    "vit-without-normalization": {"image_processor_type": "ViTImageProcessor", "do_normalize": False},
    "vit-without-factor": {"image_processor_type": "ViTImageProcessor", "do_rescale": False},
    "resnet-50": RESNET,
    "convnext-384": {**RESNET, "size": {"shortest_edge": 384}},
    "convnext-bare": {"image_processor_type": "ConvNextImageProcessor"},
    "bit-dinov2": {
        "image_processor_type": "BitImageProcessor",
        "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": 256},
    },
    "bit-that-only-crops": {
        "image_processor_type": "BitImageProcessor",
        "do_resize": False,
        "crop_size": {"height": 65, "width": 120},
    },
    "bit-whose-crop-is-larger": {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 50},
        "crop_size": {"height": 77, "width": 90},
    },
    "clip-2021": {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224},
    "deit": {"image_processor_type": "DeiTImageProcessor"},
    "deit-that-does-not-crop": {"image_processor_type": "DeiTImageProcessor", "do_center_crop": None},
    "siglip": {"image_processor_type": "SiglipImageProcessor", "resample": 3, "image_mean": 0.4},
}
NAMES = {"ConvNextFeatureExtractor": "ConvNext", "ViTFeatureExtractor": "ViT", "CLIPFeatureExtractor": "CLIP"}

# what Pillow says of files whose transparency RGB cannot keep
pytestmark = pytest.mark.filterwarnings("ignore:Palette images with Transparency")


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Return random shapes under noise; smooth enough that JPEG and resizing have something to do."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (4, 4, 4), dtype=np.uint8)
    fine = np.asarray(Image.fromarray(coarse, "RGBA").resize((width, height), Image.Resampling.BICUBIC))
    noisy = fine.astype(np.int16) + generator.integers(-20, 21, fine.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8), "RGBA").convert(mode)


def written(image: Image.Image, form: str = "PNG", **arguments: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **arguments)
    return file.getvalue()


def expected_of(data: bytes, preprocessor: dict[str, Any]) -> np.ndarray:
    """Return what transformers makes of a file, as its pipelines read it."""
    import transformers
    from transformers.image_utils import load_image

    told = preprocessor.get("image_processor_type", preprocessor.get("feature_extractor_type"))
    name = NAMES.get(told, told.removesuffix("Fast").removesuffix("ImageProcessor"))
    fields = {key: one for key, one in preprocessor.items() if not key.endswith("_type")}
    processor = getattr(transformers, f"{name}ImageProcessorPil")(**fields)
    image = load_image(Image.open(io.BytesIO(data)))
    return np.asarray(processor(image, return_tensors="np")["pixel_values"])


def one(preparation: Preparation, data: bytes) -> np.ndarray:
    (found,) = preparation.answer([column(data)])
    assert isinstance(found, np.ndarray), found
    return found


def same(preprocessor: dict[str, Any], data: bytes) -> None:
    preparation = Preparation({"preprocessor": preprocessor})
    found, expected = one(preparation, data), expected_of(data, preprocessor)
    assert found.dtype == np.float32
    assert found.shape == (1, *preparation.shape) == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", PREPROCESSORS)
@pytest.mark.parametrize("size", [(320, 240), (97, 301), (224, 224), (500, 375), (30, 20), (1, 40)])
def test_pixels_are_those_of_transformers(name: str, size: tuple[int, int]) -> None:
    same(PREPROCESSORS[name], written(picture(*size, seed=size[0])))


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(sorted(PREPROCESSORS)),
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    seed=st.integers(0, 1000),
)
def test_any_size_of_image(name: str, width: int, height: int, seed: int) -> None:
    same(PREPROCESSORS[name], written(picture(width, height, seed=seed)))


def animation(form: str) -> bytes:
    frames = [picture(80, 60, seed=seed) for seed in range(3)]
    return written(frames[0], form, save_all=True, append_images=frames[1:], duration=50)


def files() -> Iterator[Any]:
    image = picture(130, 90)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        made = Image.fromarray(np.asarray(picture(130, 90, "I")).astype(np.uint16) * 200)
        yield pytest.param(written(made if mode == "I;16" else image.convert(mode)), id=f"PNG-{mode}")
    palette = image.convert("P")
    yield pytest.param(written(palette, transparency=3), id="PNG-P-with-a-transparent-colour")
    yield pytest.param(written(palette, transparency=bytes(range(256))), id="PNG-P-with-alpha")
    for mode in ("L", "RGB", "CMYK", "YCbCr"):
        yield pytest.param(written(picture(130, 90, mode), "JPEG", quality=90), id=f"JPEG-{mode}")
    yield pytest.param(written(image, "JPEG", progressive=True), id="JPEG-progressive")
    for mode in ("RGB", "RGBA"):
        yield pytest.param(written(picture(130, 90, mode), "WEBP"), id=f"WEBP-{mode}")
    yield pytest.param(written(image, "BMP"), id="BMP")
    for form in ("GIF", "WEBP", "PNG"):
        yield pytest.param(animation(form), id=f"{form}-animated")


@pytest.mark.parametrize("data", files())
@pytest.mark.parametrize("name", ["vit-2021", "resnet-50", "bit-dinov2"])
def test_every_sort_of_file(name: str, data: bytes) -> None:
    same(PREPROCESSORS[name], data)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright_as_transformers_does(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = written(picture(120, 80), form, exif=exif)
    assert Image.open(io.BytesIO(data)).getexif()[0x0112] == orientation
    same(PREPROCESSORS["vit-now"], data)


def test_an_animation_gives_its_first_frame() -> None:
    preparation = Preparation({"preprocessor": PREPROCESSORS["vit-now"]})
    still = written(picture(80, 60, seed=0))
    np.testing.assert_array_equal(one(preparation, animation("PNG")), one(preparation, still))


def test_pixels_by_hand() -> None:
    told = {
        "image_processor_type": "BitImageProcessor",
        "do_resize": False,
        "crop_size": {"height": 2, "width": 2},
        "image_mean": [0.0, 0.5, 1.0],
        "image_std": [1.0, 0.5, 2.0],
        "rescale_factor": 0.01,
    }
    image = Image.new("RGB", (4, 2))
    for place, colour in enumerate([(100, 0, 0), (0, 100, 0), (50, 100, 200), (7, 7, 7)]):
        image.putpixel((place, 1), colour)
    found = one(Preparation({"preprocessor": told}), written(image))
    # the middle two of four columns; black is (0 - mean) / std
    expected = [[[0, 0], [0, 0.5]], [[-1, -1], [1, 1]], [[-0.5, -0.5], [-0.5, 0.5]]]
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


def huge_png() -> bytes:
    """Return a PNG of 30000 x 30000 pixels whose data nobody should ever begin to read."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


GOOD = written(picture(60, 40), "JPEG")
REFUSED = [
    (b"", "0 bytes that are no image; send the bytes of a file in one of the formats JPEG, PNG, WEBP"),
    (b"/home/user/cat.jpg", "18 bytes that are no image"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "41 bytes that are no image"),
    (written(picture(9, 9), "TIFF"), "bytes that are no image"),
    (GOOD[: len(GOOD) // 2], "the JPEG file is damaged or not whole: image file is truncated"),
    (written(picture(60, 40))[:-40], "the PNG file is damaged or not whole: "),
    (written(picture(60, 40), "WEBP")[:-40], "no image|the WEBP file is damaged or not whole: "),
    (written(picture(101, 100)), "101 x 100 pixels, at most 10000 are decoded; send a smaller image"),
    (written(picture(2, 200)), "21 x 2100 pixels, at most 10000 are left after resizing"),
    (huge_png(), "more than 10000 pixels; send a smaller image"),
    (bytes(3001), "3001 bytes, at most 3000 are read; send a smaller file"),
]


@pytest.mark.parametrize(("data", "words"), REFUSED)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_bad_file_fails_alone_and_says_why(data: bytes, words: str, threads: int) -> None:
    told = {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 21}}
    limits = {"max_pixels": 10_000, "max_bytes": 100_000 if len(data) != 3001 else 3000}
    preparation = Preparation({"preprocessor": told, **limits})
    good = written(picture(60, 40), "JPEG", quality=30)
    asked = [column(good), column(data), column(good, data), column(good)]
    with ThreadPoolExecutor(threads) as pool:
        first, alone, second_row, last = preparation.answer(asked, pool.map)
    for found in (first, last):
        np.testing.assert_array_equal(found, one(preparation, good))
    with pytest.raises(ValueError, match=f"^image: .*({words})"):
        raise alone  # type: ignore[misc]
    with pytest.raises(ValueError, match=f"^image, row 2 of 2: .*({words})"):
        raise second_row  # type: ignore[misc]


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_a_file_with_any_bytes_changed_is_prepared_or_refused(data: st.DataObject) -> None:
    broken = bytearray(data.draw(st.sampled_from([GOOD, written(picture(30, 20)), animation("GIF")])))
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    preparation = Preparation({"preprocessor": PREPROCESSORS["vit-now"], "max_pixels": 1_000_000})
    (found,) = preparation.answer([column(bytes(broken))])
    assert isinstance(found, ValueError) or np.isfinite(found).all()


def test_rows_of_a_request_keep_their_order_over_threads() -> None:
    preparation = Preparation({"preprocessor": PREPROCESSORS["vit-now"]})
    images = [written(picture(50 + seed, 40, seed=seed), "JPEG") for seed in range(9)]
    with ThreadPoolExecutor(4) as pool:
        several, single = preparation.answer([column(*images[:8]), column(images[8])], pool.map)
    for data, row in zip(images, [*several, *single], strict=True):  # type: ignore[misc]
        np.testing.assert_array_equal(row, one(preparation, data)[0])


@pytest.mark.parametrize(
    ("preprocessor", "words"),
    [
        ({}, "image_processor_type none; expected one of ViTImageProcessor, DeiTImageProcessor"),
        ({"image_processor_type": "LevitImageProcessor"}, "image_processor_type LevitImageProcessor"),
        ({**VIT, "do_resize": False}, "images of different sizes; expected do_center_crop, or a size"),
        ({**VIT, "size": {"shortest_edge": 224}}, "images of different sizes"),
        ({**VIT, "size": {"longest_edge": 224}}, "size {'longest_edge': 224}; expected height and width"),
        ({**VIT, "size": {"shortest_edge": 9, "longest_edge": 12}}, "expected no longest_edge"),
        ({**VIT, "image_mean": [0.5]}, "has [0.5] for the channels; expected 3 numbers"),
    ],
)
def test_a_preprocessor_that_is_not_done_here_is_refused(preprocessor: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        configuration.read(preprocessor)
    assert words in str(caught.value)


def test_defaults_are_those_of_transformers() -> None:
    import transformers

    for name, ours in configuration.CLASSES.items():
        theirs = getattr(transformers, f"{name}ImageProcessorPil")
        for field in (
            "resample",
            "image_mean",
            "image_std",
            "size",
            "crop_size",
            "do_center_crop",
            "crop_pct",
        ):
            assert ours.get(field) == getattr(theirs, field, None), (name, field)
