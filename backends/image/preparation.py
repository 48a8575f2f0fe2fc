"""Images to the pixels that a model reads, number for number those of transformers' Pillow processors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from backends.image import configuration
from backends.image.configuration import Configuration
from backends.image.files import Limits, open_image, require_pixels
from backends.text.elements import place

IMAGE = "image"

Pixels = npt.NDArray[np.float32]
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


class Preparation:
    """What the settings `preprocessor`, and if they have them max_bytes and max_pixels, ask for."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Read the settings; raise ValueError where they ask for what is not done here."""
        self._configuration = configuration.read(settings["preprocessor"])
        self._table = _table(self._configuration)
        names = {"max_bytes": "bytes", "max_pixels": "pixels"}
        self._limits = Limits(**{field: settings[name] for name, field in names.items() if name in settings})
        # so that the first file of a format needs no plug-in to be imported
        Image.init()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (3, height, width)."""
        return (3, *self._configuration.size)

    def answer(self, requests: Sequence[npt.NDArray[Any]], together: Map = map) -> list[Pixels | ValueError]:
        """Return for each request, bytes [b,1], its pixels float32 [b,3,H,W], or why it is refused.

        `together` maps as `map` does, and may do so in several threads: Pillow lets others run meanwhile.
        """
        found: list[Pixels | ValueError] = [
            np.empty((request.size, *self.shape), dtype=np.float32) for request in requests
        ]
        tasks = [
            (number, row, data)
            for number, request in enumerate(requests)
            for row, data in enumerate(request.reshape(-1).tolist())
        ]
        pixels = [found[number][row] for number, row, _ in tasks]  # type: ignore[index]
        errors = together(self._try, zip([data for _, _, data in tasks], pixels, strict=True))
        for (number, row, _), error in zip(tasks, errors, strict=True):
            if error and not isinstance(found[number], ValueError):
                found[number] = ValueError(f"{place(IMAGE, 'row', row, requests[number].size)}: {error}")
        return found

    def _try(self, task: tuple[bytes, Pixels]) -> Exception | None:
        """Return what stops an image, be it a lack of memory: the others shall not know."""
        try:
            self.prepare(*task)
        except Exception as error:
            return error
        return None

    def prepare(self, data: bytes, pixels: Pixels) -> None:
        """Decode a file and write its pixels into float32 [3,H,W]; raise ValueError to refuse it."""
        image = self._sized(open_image(data, self._limits))
        values = np.asarray(image)
        for channel, table in enumerate(self._table):
            # a value is an index of its table: nothing is computed, and nothing can be out of range
            np.take(table, values[:, :, channel], out=pixels[channel], mode="wrap")

    def _sized(self, image: Any) -> Any:
        wanted = self._configuration
        size = wanted.exact[::-1] if wanted.exact else image.size
        if wanted.shortest:
            size = _by_shortest(image.size, wanted.shortest)
            require_pixels(size, self._limits, "are left after resizing")
        if wanted.exact or wanted.shortest:
            image = image.resize(size, wanted.resample)
        if wanted.crop:
            height, width = wanted.crop
            left, top = (size[0] - width) // 2, (size[1] - height) // 2
            # where the image is smaller, Pillow fills up with black
            image = image.crop((left, top, left + width, top + height))
        return image


def _by_shortest(size: tuple[int, int], shortest: int) -> tuple[int, int]:
    width, height = size
    if width <= height:
        return shortest, int(shortest * height / width)
    return int(shortest * width / height), shortest


def _table(wanted: Configuration) -> npt.NDArray[np.float32]:
    """Return float32 [3, 256]: what each value of a channel becomes, rounded where transformers rounds."""
    values = np.arange(256, dtype=np.float64)
    if wanted.factor is not None:
        values = values * wanted.factor
    table = np.tile(values.astype(np.float32), (3, 1))
    if wanted.normalization is not None:
        mean, deviation = (np.array(one, dtype=np.float32)[:, None] for one in wanted.normalization)
        table = (table - mean) / deviation
    return table
