"""The last step of token classification inside Triton: scores of tokens to entities of the text."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

# A package of the same name may be installed: what stands beside this file comes first.
sys.path.insert(0, str(Path(__file__).parent))

from backends.entities.answers import INPUTS, answer
from backends.entities.spans import Entities


class TritonPythonModel:
    """token_scores, rows, offsets, special and text_input of a text -> entities STRING [b,1], JSON."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the labels."""
        folder = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        self._entities = Entities(settings["labels"], settings["strategy"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response per request; a bad one fails alone."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        arrays = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in INPUTS}
        try:
            found = answer(self._entities, **arrays)
        except ValueError as error:
            refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        column = np.array(found, dtype=np.object_).reshape(-1, 1)
        return pb_utils.InferenceResponse([pb_utils.Tensor("entities", column)])
