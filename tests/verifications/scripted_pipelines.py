"""Deployments that answer in one pass: the real pipelines and Python models, and a script for the graph."""

from __future__ import annotations

import base64
import dataclasses
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import scripted_graph
import scripted_repository
from scripted_graph import LABELS, TAGS
from tokenizers import Tokenizer

from backends.entities.spans import Entities
from backends.row_tokenizer.rows import Rows
from builder import files, house, model_config
from builder.ensemble import Batching, Facts, Member, Pipeline, Tensor
from builder.planning.models import ModelPlan

MOST = 40
ROW_SECONDS = 0.003
HERE = Path(__file__).parent

TEXTS = (
    "Hello",
    "The quick brown fox jumps over a lazy dog.",
    "Say \U0001f389 to Zoe\u0301 and to 日本語",
    "count: 1 2 3",
    "Where to?",
    "  two  spaces\tand a tab ",
    "Good morning, and then good night to every friend nearby",
    "A list of birds and of a dog",
    "def add(left, right):\n    return left + right",
    "हिन्दी and 한국",
)
QUERIES = ("Which is a bird?", "Where is the dog?", "Say hello")
ROWS = tuple((20.5 + number, number * 7, f"city {number % 4}") for number in range(8))
IMAGES = tuple(b"IMAGE" + bytes([0xFF, number, 0x00, 0xFE]) * (number + 1) for number in range(6))

_TEXT_SETTINGS = {"max_tokens": MOST, "truncate": False, "pad_id": 0, "lower_case": False}
_STRING = Tensor("image", "STRING")
_LABELLED = (Tensor("scores", "FP32", (len(LABELS),), labelled=True), Tensor("label", "STRING"))


@dataclasses.dataclass(frozen=True)
class Deployment:
    """A pipeline under its name, what its models are told, and what golden.json holds of it."""

    pipeline: str
    facts: Facts
    settings: Mapping[str, Any]
    batched: str
    """The suffix of the model that computes batches."""


DEPLOYMENTS = {
    "moods": Deployment("classification", Facts(labels=LABELS), _TEXT_SETTINGS, "_encoder"),
    "names": Deployment(
        "token_classification",
        Facts(labels=TAGS),
        {**_TEXT_SETTINGS, "labels": TAGS, "strategy": "simple"},
        "_encoder",
    ),
    "ranks": Deployment("reranking", Facts(), {**_TEXT_SETTINGS, "truncate": True}, "_encoder"),
    "table": Deployment(
        "tabular",
        Facts(
            labels=LABELS,
            inputs=(Tensor("age", "FP32"), Tensor("visits", "INT64"), Tensor("city", "STRING")),
            outputs=(
                Tensor("prediction", "STRING"),
                Tensor("probabilities", "FP32", (len(LABELS),), labelled=True),
            ),
        ),
        {},
        "",
    ),
    "pictures": Deployment("image_classification", Facts(labels=LABELS), {}, ""),
    "norms": Deployment(
        "tensors",
        Facts(
            inputs=(Tensor("x", "FP32", (-1, 3)),),
            outputs=(Tensor("y", "FP32", (-1,)), Tensor("count", "INT64")),
            batches=False,
        ),
        {},
        "",
    ),
}


def write(repository: Path, names: Iterable[str] = tuple(DEPLOYMENTS)) -> None:
    """Write deployments as `builder build` would, and golden answers from the same scripts."""
    tokenizer = scripted_repository.trained_tokenizer()
    for name in names:
        deployment = DEPLOYMENTS[name]
        plan: Any = SimpleNamespace(name=name, models=())
        for member in _pipeline(deployment).members:
            _write_model(repository / (name + member.suffix), member, deployment, plan, tokenizer)
        front = repository / name / "1"
        files.write_json(front / "manifest.json", {"name": name, "artifact": {"sha256": {}}})
        files.write_json(front / "golden.json", _golden(name, deployment, tokenizer, repository))


def _pipeline(deployment: Deployment) -> Pipeline:
    """Return the pipeline with a Python model for the graph; that of images is one model, without Pillow."""
    if deployment.pipeline == "image_classification":
        batching = Batching(max_queue_delay_microseconds=0, max_queue_size=4096)
        return Pipeline("", (Member("", "", (_STRING,), _LABELLED, 64, batching=batching),))
    path = house.folder("ensembles") / f"{deployment.pipeline}.py"
    found: Pipeline = house.load_file(path).pipeline(deployment.facts)
    return dataclasses.replace(
        found, members=tuple(dataclasses.replace(member, backend="python") for member in found.members)
    )


def _write_model(home: Path, member: Member, deployment: Deployment, plan: Any, tokenizer: Tokenizer) -> None:
    folder = home / "1"
    folder.mkdir(parents=True)
    (home / "config.pbtxt").write_text(model_config.text(ModelPlan(home.name, member, None), plan))
    if any(tensor.labelled for tensor in member.outputs):
        (home / model_config.LABELS).write_text("".join(f"{label}\n" for label in LABELS))
    if member.steps:
        return
    if member.code:
        scripted_repository.copy_code(member.code, folder)
        files.write_json(
            folder / "settings.json", {name: deployment.settings[name] for name in member.settings}
        )
    else:
        shutil.copyfile(HERE / "scripted_model.py", folder / "model.py")
        shutil.copyfile(HERE / "scripted_graph.py", folder / "scripted_graph.py")
        settings = {"graph": deployment.pipeline, "row_seconds": ROW_SECONDS}
        files.write_json(folder / "settings.json", settings)
    if member.tokenizes:
        scripted_repository.write_tokenizer(tokenizer, folder / "tokenizer")


def _golden(name: str, deployment: Deployment, tokenizer: Tokenizer, repository: Path) -> dict[str, Any]:
    recorder = globals()[f"_{deployment.pipeline}"]
    asks, refuses = recorder(tokenizer, repository / f"{name}_tokenizer" / "1" / "tokenizer")
    return {
        "format": 1,
        "kind": "single_pass",
        "model": name,
        "pipeline": deployment.pipeline,
        "tolerance": {"cosine": 0.9999, "error": 1e-3},
        "batched": name + deployment.batched,
        "max_batch_size": 64,
        "asks": asks,
        "refuses": refuses,
    }


Recorded = tuple[list[dict[str, Any]], list[dict[str, Any]]]


def _ask(name: str, inputs: Mapping[str, Any], **outputs: Any) -> dict[str, Any]:
    plain = {key: np.asarray(values).tolist() for key, values in outputs.items()}
    return {"id": name, "inputs": inputs, "outputs": plain}


def _best(scores: np.ndarray) -> list[str]:
    return [LABELS[int(scores.argmax())]]


def _too_long(tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "id": "a text that is too long",
        "inputs": {"text_input": ["word " * (MOST + 8)]},
        "mentions": [str(MOST)],
    }


def _classification(tokenizer: Tokenizer, folder: Path) -> Recorded:
    asks = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        scores = scripted_graph.text_scores(ids)
        asks.append(
            _ask(
                text, {"text_input": [text]}, scores=scores, label=_best(scores), num_input_tokens=[len(ids)]
            )
        )
    return asks, [_too_long(tokenizer)]


def _token_classification(tokenizer: Tokenizer, folder: Path) -> Recorded:
    rows, entities = Rows(folder, _TEXT_SETTINGS), Entities(TAGS, "simple")
    asks = []
    for text in TEXTS:
        given = np.array([[text.encode()]], dtype=np.object_)
        (made,) = rows.answer([(given, ("input_ids", "offsets", "special"))])
        assert isinstance(made, dict)
        ids = made["input_ids"][0].tolist()
        scores = scripted_graph.tag_scores(ids)
        found = entities.find(text, scores, made["offsets"][0], made["special"][0])
        asks.append(
            _ask(text, {"text_input": [text]}, entities=[json.dumps(found)], num_input_tokens=[len(ids)])
        )
    return asks, [_too_long(tokenizer)]


def _reranking(tokenizer: Tokenizer, folder: Path) -> Recorded:
    asks = []
    for query in QUERIES:
        pairs = [tokenizer.encode(query, text) for text in TEXTS]
        scores = [scripted_graph.pair_score(pair.ids, pair.type_ids.index(1)) for pair in pairs]
        asks.append(_ask(query, {"query": [query], "documents": list(TEXTS)}, scores=scores))
    none = {
        "id": "no document",
        "inputs": {"query": ["Which?"], "documents": []},
        "mentions": ["documents"],
    }
    return asks, [none]


def _tabular(tokenizer: Tokenizer, folder: Path) -> Recorded:
    asks = []
    for age, visits, city in ROWS:
        scores = scripted_graph.row_scores(age, visits, city.encode())
        given = {"age": [age], "visits": [visits], "city": [city]}
        asks.append(_ask(f"row {visits}", given, probabilities=scores, prediction=_best(scores)))
    return asks, []


def _image_classification(tokenizer: Tokenizer, folder: Path) -> Recorded:
    def given(data: bytes) -> dict[str, Any]:
        return {"image": [{"base64": base64.b64encode(data).decode()}]}

    asks = []
    for number, data in enumerate(IMAGES):
        scores = scripted_graph.image_scores(data)
        asks.append(_ask(f"image {number}", given(data), scores=scores, label=_best(scores)))
    return asks, [{"id": "no image", "inputs": given(b"\xff nothing"), "mentions": ["image"]}]


def _tensors(tokenizer: Tokenizer, folder: Path) -> Recorded:
    chance = np.random.default_rng(0)
    asks = []
    for number in range(4):
        x = chance.normal(size=(number + 1, 3)).astype(np.float32)
        asks.append(
            _ask(
                f"tensors {number}", {"x": x.tolist()}, y=np.linalg.norm(x, axis=1), count=[float(number + 1)]
            )
        )
    return asks, []
