"""Deployments that answer once: `lengths`, an ensemble over texts, and `record`, which is particular.

`lengths` is words -> score. Its first step refuses a text that it has seen before, so that a load without
marks cannot go unnoticed. `record` takes every sort of input and refuses all but RECORDS: what arrives there
is what was sent. Only it carries a manifest, and golden answers.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from builder import files

BYTES = b"\xff\xd8\x00\x01 no text"
RECORDS: tuple[dict[str, Any], ...] = (
    {
        "picture": [{"base64": base64.b64encode(BYTES).decode()}],
        "names": ["Zoë", "", "a\nb"],
        "matrix": [[1.5, 2, -3], [0, 1e-3, 7]],
        "half": [0.5, -2, 65504],
        "flag": [True],
        "count": [-(2**40)],
    },
    {
        "picture": "plain text",
        "names": [],
        "matrix": [1, 2],
        "half": [0, 0, 0],
        "flag": False,
    },
)

_PYTHON = """
import numpy as np
import triton_python_backend_utils as pb_utils


def tensor(request, name):
    found = pb_utils.get_input_tensor_by_name(request, name)
    return None if found is None else found.as_numpy()


class TritonPythonModel:
    def initialize(self, args):
        self.seen = set()

    def execute(self, requests):
        return [self.answer(request) for request in requests]

"""

_WORDS = f"""{_PYTHON}
    def answer(self, request):
        texts = [row[0] for row in tensor(request, "text_input")]
        again = self.seen.intersection(texts)
        self.seen.update(texts)
        if again:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("seen before: " + texts[0].decode()))
        counts = np.array([[len(text.split())] for text in texts], np.int32)
        return pb_utils.InferenceResponse([pb_utils.Tensor("words", counts)])
"""

_SCORE = f"""{_PYTHON}
    def answer(self, request):
        words = tensor(request, "words").astype(np.float32)
        return pb_utils.InferenceResponse([pb_utils.Tensor("score", words / 7)])
"""

_RECORD = f"""{_PYTHON}
    def answer(self, request):
        found = [
            tensor(request, "picture").tolist(),
            tensor(request, "names").tolist(),
            tensor(request, "matrix").tolist(),
            tensor(request, "half").tolist(),
            tensor(request, "flag").tolist(),
            None if tensor(request, "count") is None else tensor(request, "count").tolist(),
        ]
        if found not in KNOWN:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("no such record: " + repr(found)))
        return pb_utils.InferenceResponse([pb_utils.Tensor("known", np.ones((1, 1), np.int32))])
"""

# both records as they must arrive: with a batch of one, in row-major order
_KNOWN = f"""
names = [["Zo\\u00eb".encode(), b"", b"a\\nb"]]
matrix = np.array([[[1.5, 2, -3], [0, 1e-3, 7]]], np.float32).tolist()
KNOWN = [
    [[[{BYTES!r}]], names, matrix, [[0.5, -2, 65504]], [[True]], [[-(2**40)]]],
    [[[b"plain text"]], [[]], [[[1], [2]]], [[0, 0, 0]], [[False]], None],
]
"""

_LENGTHS_CONFIG = """
platform: "ensemble"
max_batch_size: 16
input { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] }
output { name: "score" data_type: TYPE_FP32 dims: [ 1 ] }
ensemble_scheduling {
  step {
    model_name: "lengths_words" model_version: -1
    input_map { key: "text_input" value: "text_input" } output_map { key: "words" value: "words" }
  }
  step {
    model_name: "lengths_score" model_version: -1
    input_map { key: "words" value: "words" } output_map { key: "score" value: "score" }
  }
}
"""

_STEP = """
backend: "python"
max_batch_size: 16
dynamic_batching { max_queue_delay_microseconds: 20000 }
instance_group { kind: KIND_CPU count: 1 }
"""

_RECORD_INPUTS = """
input { name: "picture" data_type: TYPE_STRING dims: [ 1 ] }
input { name: "names" data_type: TYPE_STRING dims: [ -1 ] }
input { name: "matrix" data_type: TYPE_FP32 dims: [ 2, -1 ] }
input { name: "half" data_type: TYPE_FP16 dims: [ 3 ] }
input { name: "flag" data_type: TYPE_BOOL dims: [ 1 ] }
input { name: "count" data_type: TYPE_INT64 dims: [ 1 ] optional: true }
output { name: "known" data_type: TYPE_INT32 dims: [ 1 ] }
backend: "python"
max_batch_size: 1
instance_group { kind: KIND_CPU count: 1 }
"""


def write(repository: Path) -> None:
    """Write the four models."""
    text = 'input { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] }'
    words = '{ name: "words" data_type: TYPE_INT32 dims: [ 1 ] }'
    score = 'output { name: "score" data_type: TYPE_FP32 dims: [ 1 ] }'
    _model(repository, "lengths", _LENGTHS_CONFIG)
    _model(repository, "lengths_words", f"{_STEP}{text} output {words}", _WORDS)
    _model(repository, "lengths_score", f"{_STEP}input {words} {score}", _SCORE)
    record = _model(repository, "record", _RECORD_INPUTS, _RECORD + _KNOWN)
    files.write_json(record / "manifest.json", {"name": "record", "artifact": {"sha256": {}}})
    asks = [{"id": str(place), "inputs": inputs, "outputs": {}} for place, inputs in enumerate(RECORDS)]
    files.write_json(
        record / "golden.json", {"format": 1, "kind": "single_pass", "model": "record", "asks": asks}
    )


def _model(repository: Path, name: str, config: str, code: str = "") -> Path:
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    (version / ("model.py" if code else ".keep")).write_text(code)
    return version
