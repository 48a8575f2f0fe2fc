"""The preparation of images inside Triton: files are decoded and resized by several threads."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils
from PIL import Image

# A package of the same name may be installed: what stands beside this file comes first.
sys.path.insert(0, str(Path(__file__).parent))

from backends.image.preparation import IMAGE, Preparation

THREADS = 4
"""The most images that are decoded at once: each may take as much memory as its limit of pixels allows."""


class TritonPythonModel:
    """image STRING [b,1], the bytes of a file -> pixel_values FP32 [b,3,H,W]."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the settings."""
        # the limit of the settings is the one that counts
        Image.MAX_IMAGE_PIXELS = None
        folder = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        self._preparation = Preparation(settings)
        self._threads = ThreadPoolExecutor(min(THREADS, len(os.sched_getaffinity(0))))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response per request; a bad one fails alone."""
        asked = [pb_utils.get_input_tensor_by_name(request, IMAGE).as_numpy() for request in requests]
        together = self._threads.map if sum(array.size for array in asked) > 1 else map
        return [_response(found) for found in self._preparation.answer(asked, together)]


def _response(found: Any) -> Any:
    if isinstance(found, ValueError):
        error = pb_utils.TritonError(str(found), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=error)
    return pb_utils.InferenceResponse([pb_utils.Tensor("pixel_values", found)])
