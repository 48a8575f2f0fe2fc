"""The tokenizer of a single-pass model inside Triton: one encode_batch over all texts that wait."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

# A package of the same name may be installed: what stands beside this file comes first.
sys.path.insert(0, str(Path(__file__).parent))

from backends.row_tokenizer.rows import TEXT, Rows
from backends.text.limits import allow_threads


class TritonPythonModel:
    """text_input STRING [b,1] -> those of the outputs of `Rows.answer` that a request asks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the tokenizer and use it once."""
        allow_threads()
        folder = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        self._rows = Rows(folder / "tokenizer", settings)
        self._rows.answer([(np.array([[b"Hello"]], dtype=np.object_), ("input_ids",))])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response per request; a bad one fails alone."""
        asked = [
            (pb_utils.get_input_tensor_by_name(request, TEXT).as_numpy(), request.requested_output_names())
            for request in requests
        ]
        return [_response(found) for found in self._rows.answer(asked)]


def _response(found: Any) -> Any:
    if isinstance(found, ValueError):
        error = pb_utils.TritonError(str(found), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=error)
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in found.items()])
