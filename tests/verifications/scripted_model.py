"""A function of scripted_graph as a model inside Triton; lies in a version folder as model.py."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).parent))

import scripted_graph


class TritonPythonModel:
    """Answers all requests of a batch together, and takes its time for each row, as a real graph does."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read which function it is, and its inputs."""
        settings = json.loads((Path(__file__).parent / "settings.json").read_text())
        self._graph = getattr(scripted_graph, settings["graph"])
        self._seconds = settings["row_seconds"]
        self._inputs = [one["name"] for one in json.loads(args["model_config"])["input"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response per request."""
        arrays = [
            {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
            for request in requests
        ]
        time.sleep(self._seconds * sum(len(given[self._inputs[0]]) for given in arrays))
        return [_response(found) for found in self._graph(arrays)]


def _response(found: Any) -> Any:
    if isinstance(found, ValueError):
        error = pb_utils.TritonError(str(found), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=error)
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, values) for name, values in found.items()])
