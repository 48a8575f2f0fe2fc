"""The last step of reranking inside Triton: every query gets the scores of its documents."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

# A package of the same name may be installed: what stands beside this file comes first.
sys.path.insert(0, str(Path(__file__).parent))

from backends.pair_scores.grouping import QUERIES, SCORES, by_query


class TritonPythonModel:
    """scores FP32 [p,1], queries INT32 [p,1] -> scores FP32 [b,n], b queries with n documents each."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response per request; a bad one fails alone."""
        return [_respond(request) for request in requests]


def _respond(request: Any) -> Any:
    scores, queries = (
        pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in (SCORES, QUERIES)
    )
    try:
        found = by_query(scores, queries)
    except ValueError as error:
        refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=refusal)
    return pb_utils.InferenceResponse([pb_utils.Tensor(SCORES, found)])
