"""The detokenizer inside Triton: pure, so that any instance can answer any step of any stream."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

# A package of the same name may be installed: what stands beside this file comes first.
sys.path.insert(0, str(Path(__file__).parent))

from backends.text.decoding import Vocabulary, decode


class TritonPythonModel:
    """output_ids INT32 [b,n] after context_ids INT32 [b,c] -> text_output STRING [b,1]."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the bytes of every id."""
        folder = Path(args["model_repository"]) / args["model_version"]
        self._vocabulary = Vocabulary.load(folder / "tokenizer" / "tokenizer.json")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response per request; one with ids that do not exist is refused alone."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        rows = pb_utils.get_input_tensor_by_name(request, "output_ids").as_numpy()
        strange = rows[(rows < 0) | (rows >= len(self._vocabulary.table))]
        if strange.size:
            message = f"output_ids holds {strange[0]}, ids are 0 to {len(self._vocabulary.table) - 1}"
            error = pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=error)
        given = pb_utils.get_input_tensor_by_name(request, "context_ids")
        contexts = given.as_numpy() if given is not None else np.zeros((len(rows), 0), dtype=np.int32)
        found = [
            decode(self._vocabulary, row.tolist(), context.tolist()).encode()
            for row, context in zip(rows, contexts, strict=True)
        ]
        text = np.array(found, dtype=np.object_).reshape(-1, 1)
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("text_output", text)])
