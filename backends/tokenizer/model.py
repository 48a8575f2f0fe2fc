"""The tokenizer inside Triton: one encode_batch over all texts that wait."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

# A package of the same name may be installed: what stands beside this file comes first.
sys.path.insert(0, str(Path(__file__).parent))

from backends.batches import padded, texts
from backends.text.encoding import Encoder


class TritonPythonModel:
    """text_input STRING [b,1] -> input_ids INT32 [b,longest] and input_lengths INT32 [b,1]."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the tokenizer and use it once."""
        folder = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        self._encoder = Encoder(folder / "tokenizer", settings["bos_id"])
        self._pad = settings["pad_id"] or 0
        self._encoder.encode("Hello")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response per request; a bad one fails alone."""
        read = [_read(request) for request in requests]
        every = [text for part in read if isinstance(part, list) for text in part]
        encoded = iter(self._encoder.encode_batch(every))
        responses = []
        for part in read:
            if isinstance(part, list):
                responses.append(self._respond([next(encoded) for _ in part]))
            else:
                responses.append(pb_utils.InferenceResponse(error=part))
        return responses

    def _respond(self, rows: list[list[int]]) -> Any:
        lengths = np.array([[len(row)] for row in rows], dtype=np.int32)
        tensors = [
            pb_utils.Tensor("input_ids", padded(rows, self._pad)),
            pb_utils.Tensor("input_lengths", lengths),
        ]
        return pb_utils.InferenceResponse(output_tensors=tensors)


def _read(request: Any) -> Any:
    """Return the texts of a request, or the TritonError to answer it with."""
    try:
        return texts("text_input", pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy())
    except ValueError as error:
        return pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
