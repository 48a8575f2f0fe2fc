"""The Python models of single passes inside a real Triton: row and pair tokenizer, entities, image."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc
from google.protobuf import text_format
from PIL import Image
from tokenizer_folders import TEXTS, column, minilm, row
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException

from backends.entities.spans import Entities
from backends.image.preparation import Preparation
from backends.pair_tokenizer.pairs import answer as pairs
from backends.row_tokenizer.rows import Rows
from backends.text.limits import LimitedEncoder
from builder import modules
from builder.ensemble import Facts, Member
from builder.server import Server
from ensembles import image_classification, reranking, token_classification

pytestmark = pytest.mark.triton

ROOT = Path(__file__).parents[2]
LABELS = ("O", "B-PER", "I-PER")
FACTS = Facts(labels=LABELS, image=(3, 32, 48))
TEXT = {"max_tokens": 64, "truncate": False, "pad_id": 0}
SETTINGS: dict[str, dict[str, Any]] = {
    "row_tokenizer": TEXT,
    "pair_tokenizer": TEXT,
    "pair_scores": {},
    "entities": {"labels": LABELS, "strategy": "first"},
    "image": {
        "preprocessor": {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 48}},
        "max_pixels": 10_000,
    },
}
LONG = "word " * 100

Answer = dict[str, np.ndarray] | str


def members() -> dict[str, Member]:
    """Return the members that the pipelines have, by the folder of their code."""
    found = [
        member
        for pipeline in (token_classification, reranking, image_classification)
        for member in pipeline.pipeline(FACTS).members
    ]
    return {member.code: member for member in found if member.code in SETTINGS}


def config(member: Member) -> Any:
    """Return the member's config, with a delay that lets requests sent together share a batch."""
    made = model_config_pb2.ModelConfig(
        name=member.code, backend="python", max_batch_size=member.max_batch_size
    )
    for tensor in member.inputs:
        made.input.add(
            name=tensor.name,
            data_type=f"TYPE_{tensor.data_type}",
            dims=tensor.dims,
            allow_ragged_batch=tensor.ragged,
        )
    for tensor in member.outputs:
        made.output.add(name=tensor.name, data_type=f"TYPE_{tensor.data_type}", dims=tensor.dims)
    made.dynamic_batching.max_queue_delay_microseconds = 100_000
    made.instance_group.add(kind="KIND_CPU", count=1)
    return made


@pytest.fixture(scope="module")
def client(
    boot: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> grpc.InferenceServerClient:
    home = tmp_path_factory.mktemp("single_pass")
    for code, member in members().items():
        version = home / code / "1"
        version.mkdir(parents=True)
        (version.parent / "config.pbtxt").write_text(text_format.MessageToString(config(member)))
        (version / "settings.json").write_text(json.dumps(SETTINGS[code]))
        if member.tokenizes:
            shutil.copytree(minilm(), version / "tokenizer", ignore=shutil.ignore_patterns("*.safetensors"))
        # no more than a build copies
        main = ROOT / "backends" / code / "model.py"
        for file in modules.reached(ROOT / "backends", [main]):
            place = version / "model.py" if file == main else version / file.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
    server = boot(home, timeout=120.0)
    return grpc.InferenceServerClient(server.grpc)


def ask(
    client: grpc.InferenceServerClient, model: str, inputs: dict[str, np.ndarray], *outputs: str
) -> Answer:
    """Return the outputs by name, or the error's words."""
    kinds = {np.dtype(np.object_): "BYTES", np.dtype(np.int32): "INT32", np.dtype(np.float32): "FP32"}
    made = []
    for name, array in inputs.items():
        made.append(grpc.InferInput(name, list(array.shape), kinds[array.dtype]))
        made[-1].set_data_from_numpy(array)
    wanted = [grpc.InferRequestedOutput(name) for name in outputs] or None
    try:
        result = client.infer(model, made, outputs=wanted)
    except InferenceServerException as error:
        return str(error)
    return {one.name: result.as_numpy(one.name) for one in result.get_response().outputs}


def all_at_once(client: grpc.InferenceServerClient, model: str, asked: list[dict[str, Any]]) -> list[Answer]:
    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(lambda inputs: ask(client, model, inputs), asked))


def same(found: Answer, expected: Any) -> None:
    assert isinstance(found, dict), found
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_rows_of_texts(client: grpc.InferenceServerClient) -> None:
    texts = [column(text) for text in TEXTS if len(text) < 60]
    texts += [column(*TEXTS[:3]), column(LONG), column(b"\xff")]
    found = all_at_once(client, "row_tokenizer", [{"text_input": text} for text in texts])
    names = [tensor.name for tensor in members()["row_tokenizer"].outputs]
    expected = Rows(minilm(), TEXT).answer([(text, names) for text in texts])
    for one, theirs in zip(found[:-2], expected[:-2], strict=True):
        same(one, theirs)
    for one, theirs in zip(found[-2:], expected[-2:], strict=True):
        assert isinstance(one, str) and str(theirs) in one


def test_only_the_outputs_that_are_asked_for_come(client: grpc.InferenceServerClient) -> None:
    found = ask(client, "row_tokenizer", {"text_input": column("Hello")}, "rows", "special")
    same(found, {"rows": np.array([[3, 3]], np.int32), "special": np.array([[1, 0, 1]], np.int32)})


def test_pairs_of_queries_and_documents(client: grpc.InferenceServerClient) -> None:
    asked = [(column("fox?"), row(*TEXTS[:count])) for count in (1, 3, 7)]
    asked += [(column("a", "b"), np.concatenate([row("x", "y z"), row("", "u")]))]
    asked += [(column("fox?"), row("fine", LONG)), (column("fox?"), row())]
    asked += [(column("fox?"), row(*["a"] * 65))]
    found = all_at_once(
        client, "pair_tokenizer", [{"query": query, "documents": documents} for query, documents in asked]
    )
    expected = pairs(LimitedEncoder(minilm(), TEXT), asked)
    for one, theirs in zip(found[:-3], expected[:-3], strict=True):
        assert not isinstance(theirs, ValueError)
        same(one, theirs._asdict())
    assert "query with document 2 of 2: 105 tokens, the model reads at most 64" in str(found[-3])
    assert "documents: 0 documents, a query needs at least 1" in str(found[-2])
    # as many as its config says
    assert "documents: 65 documents, a request may have 64 in all" in str(found[-1])


def test_scores_of_pairs_go_back_to_their_queries(client: grpc.InferenceServerClient) -> None:
    scores = np.arange(12, dtype=np.float32)[:, None]

    def of(*queries: int) -> dict[str, np.ndarray]:
        return {"scores": scores[: len(queries)], "queries": np.array(queries, np.int32)[:, None]}

    asked = [of(0), of(0, 0, 0), of(0, 0, 1, 1, 2, 2), of(0, 1), of(0, 1, 1), of(1, 0), of(1, 1)]
    found = all_at_once(client, "pair_scores", asked)
    expected = [[[0]], [[0, 1, 2]], [[0, 1], [2, 3], [4, 5]], [[0], [1]]]
    for one, theirs in zip(found[:4], expected, strict=True):
        same(one, {"scores": np.array(theirs, np.float32)})
    for one, queries in zip(found[4:], ("[0, 1, 1]", "[1, 0]", "[1, 1]"), strict=True):
        assert f"queries: {queries}; send the same number of each query" in str(one)


def test_entities_of_what_the_tokenizer_gave(client: grpc.InferenceServerClient) -> None:
    texts = ["Ada Lovelace embroidered Müller's antimacassars", "Nobody"]
    rows = ask(client, "row_tokenizer", {"text_input": column(*texts)}, "rows", "offsets", "special")
    assert isinstance(rows, dict)
    shape = (2, rows["offsets"].shape[1] + 2, len(LABELS))
    scores = np.random.default_rng(3).dirichlet([1, 1, 1], shape[:2]).astype(np.float32)
    inputs = {**rows, "token_scores": scores, "text_input": column(*texts)}
    bad = {**inputs, "rows": np.full((2, 2), 99, np.int32)}
    found, refused, again = all_at_once(client, "entities", [inputs, bad, inputs])
    assert isinstance(found, dict) and isinstance(again, dict)
    assert found["entities"].shape == (2, 1)
    entities = Entities(LABELS, "first")
    number = 0
    for place, text in enumerate(texts):
        tokens = rows["rows"][place, 0]
        parts = (scores[place], rows["offsets"][place], rows["special"][place])
        expected = entities.find(text, *(part[:tokens] for part in parts))
        assert json.loads(found["entities"][place, 0]) == expected
        number += len(expected)
    assert number
    assert again["entities"].tolist() == found["entities"].tolist()
    assert "rows, row 1 of 2: 99 tokens" in str(refused)


def test_pixels_of_files(client: grpc.InferenceServerClient) -> None:
    generator = np.random.default_rng(0)

    def file(width: int, height: int, form: str) -> bytes:
        noise = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        written = io.BytesIO()
        Image.fromarray(noise).save(written, form)
        return written.getvalue()

    files = [file(40 + size, 30, form) for size in (0, 9, 30) for form in ("JPEG", "PNG", "WEBP")]
    asked = [column(data) for data in files] + [column(*files[:3])]
    asked += [column(files[0][:99]), column(b"no image"), column(file(101, 100, "PNG"))]
    found = all_at_once(client, "image", [{"image": data} for data in asked])
    expected = Preparation(SETTINGS["image"]).answer(asked)
    for one, theirs in zip(found[:-3], expected[:-3], strict=True):
        same(one, {"pixel_values": theirs})
    for one, theirs in zip(found[-3:], expected[-3:], strict=True):
        assert isinstance(one, str) and str(theirs) in one
