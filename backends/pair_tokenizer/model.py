"""The tokenizer of a cross-encoder inside Triton: one encode_batch over all pairs that wait."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

# A package of the same name may be installed: what stands beside this file comes first.
sys.path.insert(0, str(Path(__file__).parent))

from backends.pair_tokenizer.pairs import DOCUMENTS, QUERY, answer
from backends.text.limits import LimitedEncoder, allow_threads


class TritonPythonModel:
    """query STRING [b,1], documents STRING [b,n] -> input_ids, rows, extent and queries: `Arrays`."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the tokenizer and use it once."""
        allow_threads()
        folder = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        self._encoder = LimitedEncoder(folder / "tokenizer", settings)
        # each pair becomes a row of the encoder's batch, which holds as many as this model's own
        self._most: int = json.loads(args["model_config"])["max_batch_size"]
        self._encoder.encode([("Hello", "world")])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response per request; a bad one fails alone."""
        asked = [(_array(request, QUERY), _array(request, DOCUMENTS)) for request in requests]
        return [_response(found) for found in answer(self._encoder, asked, self._most)]


def _array(request: Any, name: str) -> Any:
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


def _response(found: Any) -> Any:
    if isinstance(found, ValueError):
        error = pb_utils.TritonError(str(found), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=error)
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, array) for name, array in found._asdict().items()]
    )
