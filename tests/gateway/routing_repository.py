"""A repository to route in: three fronts whose moods the tests set, and two embedding models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import echoing_repository
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import TYPE_FP32, TYPE_INT32, TYPE_STRING, ModelConfig

STEADY, FRESH, SPARE = "steady", "fresh", "spare"
FRONTS = (STEADY, FRESH, SPARE)
VECTORS = ("vectors_a", "vectors_b")
CONTEXTS = {STEADY: 400, FRESH: 300, SPARE: 350}
FINE, FAILING, FULL, CUT, LATE = "fine", "failing", "full", "cut", "late"


def slow(seconds: float) -> str:
    """Return the mood of a model that lets everyone wait so long for the first token."""
    return f"slow {seconds}"


class Moods:
    """Files that say how each front is to behave, from its next request on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self.reset()

    def __setitem__(self, name: str, mood: str) -> None:
        part = self._folder / f"{name}.part"
        part.write_text(mood)
        part.rename(self.path(name))

    def path(self, name: str) -> Path:
        return self._folder / name

    def reset(self) -> None:
        for name in FRONTS:
            self[name] = FINE


def write(repository: Path, moods: Moods) -> Path:
    """Write it and return its folder; the first front alone has a tokenizer and a detokenizer."""
    whole = echoing_repository.write(repository.with_name("whole"))
    repository.mkdir()
    for name in FRONTS:
        _copy(whole, echoing_repository.NAME, repository, name)
        _make_moody(repository / name, moods.path(name), CONTEXTS[name])
    for part in ("_tokenizer", "_detokenizer"):
        _copy(whole, f"{echoing_repository.NAME}{part}", repository, f"{STEADY}{part}")
    for place, name in enumerate(VECTORS):
        _write_vectors(repository / name, place)
    return repository


def _copy(whole: Path, old: str, repository: Path, new: str) -> None:
    shutil.copytree(whole / old, repository / new)
    config = repository / new / "config.pbtxt"
    told = text_format.Parse(config.read_text(), ModelConfig())
    told.name = new
    config.write_text(text_format.MessageToString(told))


def _make_moody(model: Path, mood: Path, context: int) -> None:
    front = model / "1"
    shutil.copyfile(Path(__file__).parent / "moody_engine.py", front / "backends" / "engine" / "moody.py")
    settings = json.loads((front / "settings.json").read_text())
    settings |= {"engine": "moody", "reasoning": None, "context_length": context}
    settings["engine_arguments"]["mood"] = str(mood)
    (front / "settings.json").write_text(json.dumps(settings))
    config = text_format.Parse((model / "config.pbtxt").read_text(), ModelConfig())
    config.parameters["context_length"].string_value = str(context)
    (model / "config.pbtxt").write_text(text_format.MessageToString(config))


_MODEL = '''
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Gives every text the vector (1, {place})."""

    def execute(self, requests):
        return [self._answer(len(request.inputs()[0].as_numpy())) for request in requests]

    def _answer(self, rows):
        vectors = np.tile(np.array([[1, {place}]], np.float32), (rows, 1))
        outputs = [
            pb_utils.Tensor("embedding", vectors),
            pb_utils.Tensor("num_input_tokens", np.ones((rows, 1), np.int32)),
        ]
        return pb_utils.InferenceResponse(output_tensors=outputs)
'''


def _write_vectors(model: Path, place: int) -> None:
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.py").write_text(_MODEL.format(place=place))
    config = ModelConfig(name=model.name, backend="python", max_batch_size=8)
    config.input.add(name="text_input", data_type=TYPE_STRING, dims=[1])
    config.output.add(name="embedding", data_type=TYPE_FP32, dims=[2])
    config.output.add(name="num_input_tokens", data_type=TYPE_INT32, dims=[1])
    (model / "config.pbtxt").write_text(text_format.MessageToString(config))
