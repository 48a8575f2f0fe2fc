"""The last step of classification by an engine without strings: the best of the scores, by its name."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

# A package of the same name may be installed: what stands beside this file comes first.
sys.path.insert(0, str(Path(__file__).parent))

from backends.labels.naming import LABEL, SCORES, Labels


class TritonPythonModel:
    """scores FP32 [b,labels] -> scores as they are, label STRING [b,1]."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the labels."""
        folder = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        self._labels = Labels(settings["labels"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response per request; a bad one fails alone."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        scores = pb_utils.get_input_tensor_by_name(request, SCORES).as_numpy()
        try:
            found = self._labels.name(scores)
        except ValueError as error:
            refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        return pb_utils.InferenceResponse([pb_utils.Tensor(SCORES, scores), pb_utils.Tensor(LABEL, found)])
