"""NVIDIA's preprocessing inside Triton, its contract theirs, the code ours."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

# A package of the same name may be installed: what stands beside this file comes first.
sys.path.insert(0, str(Path(__file__).parent))

from backends.nvidia.prompts import Prompts
from backends.text.encoding import Encoder


class TritonPythonModel:
    """QUERY STRING [b,1] and its kin -> INPUT_ID INT32 [b,longest] and all else that the engine takes."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the tokenizer and use it once."""
        folder = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        encoder = Encoder(folder / "tokenizer", settings["bos_id"])
        encoder.encode("Hello")
        end, pad = min(settings["end_ids"], default=-1), settings["pad_id"]
        self._prompts = Prompts(encoder, end, end if pad is None else pad)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response per request; a bad one fails alone."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        wanted = frozenset(request.requested_output_names())
        try:
            made = self._prompts.encode({one.name(): one.as_numpy() for one in request.inputs()})
        except ValueError as error:
            refused = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refused)
        tensors = [pb_utils.Tensor(name, array) for name, array in made.items() if name in wanted]
        return pb_utils.InferenceResponse(output_tensors=tensors)
