"""Every pipeline by the real command line in a real Triton: what clients get is what the source answers."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("transformers")

import source_answers
import tiny_models
from one_pass_commands import DOORS, Addresses, texts
from tritonclient.utils import InferenceServerException

# libraries that test what we serve warn of themselves
pytestmark = [pytest.mark.triton, pytest.mark.filterwarnings("ignore")]

Source = Callable[[str], Path]

CLOSE = 1e-5
WORDS = "The train to Hamburg leaves from platform seven today, Paris is late and OK."
TEXTS = [
    "Paris",
    WORDS,
    "",
    "Der Zug nach Hamburg fährt heute von Gleis sieben ab.",
    "東京は日本の首都です。 😀👩‍👩‍👧",
    "naïve Café e\u0301cole\u2028next\tline",
    "a",
    "Boil the pasta in salted water",
    "On Mondays the museum is closed",
]
SLOW = ("classification", "token_classification", "reranking", "image_classification")


def of(pipeline: str) -> pytest.MarkDecorator:
    """Have a test serve the model of a pipeline; what takes 20 seconds to build is for the full tier."""
    marks = [pytest.mark.slow] if pipeline in SLOW else []
    return pytest.mark.parametrize(
        "served", [pytest.param(pipeline, marks=marks, id=pipeline)], indirect=True
    )


def refused(server: Addresses, model: str, said: str, **inputs: Any) -> None:
    """See that both doors refuse a request as the client's mistake, in the same words."""
    for door in DOORS:
        with pytest.raises(InferenceServerException, match=said) as caught:
            server.ask(door, model, **inputs)
        assert caught.value.status() in ("StatusCode.INVALID_ARGUMENT", "400")


def of_length(folder: Path, tokens: int) -> str:
    """Return a text of so many tokens, those of the template included."""
    text = " ".join(["a"] * (tokens - 2))
    assert source_answers.tokens(folder, text) == tokens
    return text


# -- text in, one vector out ---------------------------------------------------------------------------------


@of("embedding")
def test_each_text_has_the_vector_of_its_source(served: Addresses, source: Source) -> None:
    expected = source_answers.embedding(source("embedding"), TEXTS)
    for door in DOORS:
        for text, one in zip(TEXTS, expected, strict=True):
            answer = served.ask(door, "tiny", text_input=[text])
            np.testing.assert_allclose(answer["embedding"][0], one, atol=CLOSE)
            assert answer["num_input_tokens"].item() == source_answers.tokens(source("embedding"), text)
        together = served.ask(door, "tiny", text_input=TEXTS[:8])
        np.testing.assert_allclose(together["embedding"], expected[:8], atol=CLOSE)
        assert np.abs(expected[0] - expected[1]).max() > 100 * CLOSE


@of("embedding")
def test_texts_of_all_lengths_at_once(served: Addresses, source: Source) -> None:
    lengths = [(7 * number) % (tiny_models.MOST - 1) + 2 for number in range(48)]
    sent = [of_length(source("embedding"), length) for length in lengths]
    expected = source_answers.embedding(source("embedding"), sent)
    # some requests of several rows, among those of one
    rows = [1, 3, 1, 1, 2] * 6
    ends = np.cumsum(rows)
    requests = [
        {"text_input": sent[end - count : end]}
        for count, end in zip(rows, ends, strict=True)
        if end <= len(sent)
    ]
    answers = served.together("tiny", requests)
    found = np.concatenate([answer["embedding"] for answer in answers])
    assert len(found) > 40
    np.testing.assert_allclose(found, expected[: len(found)], atol=CLOSE)
    assert [int(one) for answer in answers for one in answer["num_input_tokens"]] == lengths[: len(found)]


@of("embedding")
def test_too_long_too_many_and_no_text_at_all(served: Addresses, source: Source) -> None:
    longest = of_length(source("embedding"), tiny_models.MOST)
    assert served.ask("grpc", "tiny", text_input=[longest])["num_input_tokens"].item() == tiny_models.MOST
    refused(
        served,
        "tiny",
        "text_input: 41 tokens, the model reads at most 40; shorten the text",
        text_input=[f"{longest} a"],
    )
    refused(served, "tiny", "row 2 of 2", text_input=["a", f"{longest} a"])
    refused(served, "tiny", "UTF-8", text_input=[b"\xff\xfe"])
    refused(served, "tiny", "batch-size must be <= 8", text_input=["a"] * 9)


# -- text in, labels out -------------------------------------------------------------------------------------


@of("classification")
def test_each_text_has_the_scores_and_the_label_of_its_source(served: Addresses, source: Source) -> None:
    expected = source_answers.classification(source("classification"), TEXTS)
    labels = [tiny_models.LABELS["classification"][best] for best in expected.argmax(1)]
    assert len(set(labels)) > 1
    for door in DOORS:
        for first, after in ((0, 1), (1, 9), (2, 3)):
            answer = served.ask(door, "tiny", text_input=TEXTS[first:after])
            np.testing.assert_allclose(answer["scores"], expected[first:after], atol=CLOSE)
            assert [one.decode() for one in answer["label"].ravel()] == labels[first:after]
    answers = served.together("tiny", [{"text_input": [text]} for text in TEXTS * 4])
    np.testing.assert_allclose(
        np.concatenate([one["scores"] for one in answers]), np.tile(expected, (4, 1)), atol=CLOSE
    )


@of("classification")
def test_the_best_labels_by_tritons_classification_extension(served: Addresses, source: Source) -> None:
    expected = source_answers.classification(source("classification"), TEXTS[:3])
    for door in DOORS:
        answer = served.ask(door, "tiny", classes={"scores": 2}, text_input=TEXTS[:3])
        for row, scores in zip(answer["scores"], expected, strict=True):
            order = np.argsort(scores)[::-1][:2]
            for said, number in zip(row, order, strict=True):
                score, place, label = said.decode().split(":")
                assert (int(place), label) == (number, tiny_models.LABELS["classification"][number])
                assert float(score) == pytest.approx(float(scores[number]), abs=CLOSE)


@of("classification")
def test_a_text_to_classify_may_be_too_long(served: Addresses, source: Source) -> None:
    refused(served, "tiny", "at most 40", text_input=[of_length(source("classification"), 41)])


# -- text in, entities out -----------------------------------------------------------------------------------


@of("token_classification")
def test_entities_are_those_of_transformers_with_their_characters(served: Addresses, source: Source) -> None:
    expected = source_answers.entities(source("token_classification"), TEXTS)
    assert {one["entity"] for found in expected for one in found} == {"PER", "LOC"}
    alone = [{"text_input": [text]} for text in TEXTS]
    for answers in (
        [served.ask("grpc", "tiny", **one) for one in alone],
        [served.ask("http", "tiny", text_input=part) for part in (TEXTS[:4], TEXTS[4:])],
        served.together("tiny", alone),
    ):
        found = [json.loads(one) for answer in answers for one in answer["entities"].ravel()]
        for text, entities, wanted in zip(TEXTS, found, expected, strict=True):
            assert [{**one, "score": pytest.approx(one["score"], abs=CLOSE)} for one in wanted] == entities
            assert all(text[one["start"] : one["end"]] == one["text"] for one in entities)
    assert sum(len(found) for found in expected) > 9


@of("token_classification")
def test_a_text_of_entities_may_be_too_long(served: Addresses, source: Source) -> None:
    refused(served, "tiny", "at most 40", text_input=[of_length(source("token_classification"), 41)])


# -- a query and its documents in, scores out ----------------------------------------------------------------


@of("reranking")
def test_documents_are_scored_as_by_their_source(served: Addresses, source: Source) -> None:
    folder = source("reranking")
    documents = [text for text in TEXTS if source_answers.tokens(folder, text) < 25]
    asked = [("Where is Paris?", documents), ("", documents[:1]), ("a 東京", documents[::-1][:3])] * 3
    expected = [source_answers.reranking(folder, *one) for one in asked]
    assert np.ptp(expected[0]) > 100 * CLOSE
    for door in DOORS:
        for (query, given), scores in zip(asked[:3], expected, strict=False):
            answer = served.ask(door, "tiny", query=[query], documents=texts(*given).T)
            np.testing.assert_allclose(answer["scores"], scores[None], atol=CLOSE)
    # queries with different numbers of documents at once
    requests = [{"query": [query], "documents": texts(*given).T} for query, given in asked]
    for answer, scores in zip(served.together("tiny", requests), expected, strict=True):
        np.testing.assert_allclose(answer["scores"], scores[None], atol=CLOSE)


@of("reranking")
def test_several_queries_in_one_request(served: Addresses, source: Source) -> None:
    queries, documents = ["a", "Where is Paris?"], [["Paris", "OK", ""], ["a b c", "Hamburg", "seven"]]
    answer = served.ask(
        "http", "tiny", query=queries, documents=np.array(documents).astype("S9").astype(object)
    )
    for query, given, scores in zip(queries, documents, answer["scores"], strict=True):
        expected = source_answers.reranking(source("reranking"), query, given)
        np.testing.assert_allclose(scores, expected, atol=CLOSE)


@of("reranking")
def test_pairs_too_long_and_queries_without_documents(served: Addresses, source: Source) -> None:
    long = of_length(source("reranking"), 39)
    refused(
        served,
        "tiny",
        "query with document 2 of 2: .*at most 40",
        query=["a b"],
        documents=texts("a", long).T,
    )
    refused(served, "tiny", "0 documents", query=["a"], documents=np.empty((1, 0), object))
    most = served.ask("grpc", "tiny", query=["a"], documents=texts(*["b"] * 8).T)
    assert most["scores"].shape == (1, 8)
    # the batch that was planned has 8 rows
    refused(served, "tiny", "9 documents, a request may have 8", query=["a"], documents=texts(*["b"] * 9).T)
    refused(
        served,
        "tiny",
        "3 queries with 3 documents each, a request may have 8",
        query=["a"] * 3,
        documents=texts(*["b"] * 9).reshape(3, 3),
    )


# -- an image in, labels out ---------------------------------------------------------------------------------


def picture(kind: str, size: tuple[int, int], mode: str = "RGB") -> bytes:
    from PIL import Image

    noise = np.random.default_rng(size[0]).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, kind)
    return file.getvalue()


@of("image_classification")
def test_images_have_the_scores_and_the_label_of_their_source(served: Addresses, source: Source) -> None:
    files = [picture("PNG", (32, 32)), picture("JPEG", (70, 41)), picture("WEBP", (9, 200))]
    files += [picture("PNG", (50, 50), "L"), picture("GIF", (33, 64), "P"), picture("BMP", (100, 20))]
    expected = source_answers.image_classification(source("image_classification"), files)
    labels = tiny_models.LABELS["image_classification"]
    for door in DOORS:
        answer = served.ask(door, "tiny", image=files)
        np.testing.assert_allclose(answer["scores"], expected, atol=CLOSE)
        assert [one.decode() for one in answer["label"].ravel()] == [
            labels[one] for one in expected.argmax(1)
        ]
        best = served.ask(door, "tiny", classes={"scores": 1}, image=files[1:2])["scores"].item().decode()
        assert best.split(":")[1:] == [str(expected[1].argmax()), labels[expected[1].argmax()]]
    answers = served.together("tiny", [{"image": [file]} for file in files * 3])
    np.testing.assert_allclose(
        np.concatenate([one["scores"] for one in answers]), np.tile(expected, (3, 1)), atol=CLOSE
    )


@of("image_classification")
def test_what_is_no_image_is_refused(served: Addresses) -> None:
    refused(served, "tiny", "image", image=[b"not an image"])
    refused(served, "tiny", "image", image=[b""])
    refused(served, "tiny", "row 2 of 2", image=[picture("PNG", (32, 32)), picture("PNG", (32, 32))[:60]])


# -- columns in, a prediction out ----------------------------------------------------------------------------


@of("tabular")
def test_rows_have_the_prediction_and_the_probabilities_of_their_source(
    served: Addresses, source: Source
) -> None:
    import pandas

    model = tiny_models.unpickled(source("tabular"))
    table = pandas.DataFrame(
        {"age": np.float32([20, 47.5, 79, 33]), "city": ["Rom", "Öslo", "Paris", "Rom"], "kids": [0, 3, 2, 1]}
    )
    columns = {
        "age": table["age"].to_numpy()[:, None],
        "city": list(table["city"]),
        "kids": table["kids"].to_numpy()[:, None],
    }
    expected, chances = model.predict(table), model.predict_proba(table)
    assert len(set(expected)) == 2
    for door in DOORS:
        answer = served.ask(door, "tiny", **columns)
        assert [one.decode() for one in answer["prediction"].ravel()] == list(expected)
        np.testing.assert_allclose(answer["probabilities"], chances, atol=CLOSE)
        best = served.ask(door, "tiny", classes={"probabilities": 1}, **columns)["probabilities"]
        assert [one.decode().split(":")[2] for one in best.ravel()] == list(expected)
    one_by_one = [{name: column[row : row + 1] for name, column in columns.items()} for row in range(4)]
    answers = served.together("tiny", one_by_one * 5)
    np.testing.assert_allclose(
        np.concatenate([one["probabilities"] for one in answers]), np.tile(chances, (5, 1)), atol=CLOSE
    )


@of("tabular")
def test_a_column_that_is_missing_or_of_another_type_is_refused(served: Addresses) -> None:
    age, kids = np.ones((1, 1), np.float32), np.ones((1, 1), np.int64)
    refused(served, "tiny", "expected 3 inputs but got 2", age=age, kids=kids)
    refused(served, "tiny", "data-type|data type", age=age, city=["Rom"], kids=kids.astype(np.float32))


# -- tensors in, tensors out ---------------------------------------------------------------------------------


@of("tensors")
def test_tensors_are_computed_as_by_the_file_itself(served: Addresses, source: Source) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(source("tensors"))
    x = np.random.default_rng(2).normal(size=(8, 3)).astype(np.float32)
    times = np.arange(-3, 5)[:, None]
    total, most = session.run(["total", "most"], {"x": x, "times": times})
    for door in DOORS:
        for rows in (slice(0, 1), slice(0, 8), slice(3, 5)):
            answer = served.ask(door, "tiny", x=x[rows], times=times[rows])
            np.testing.assert_allclose(answer["total"], total[rows], rtol=1e-6)
            assert answer["most"].tolist() == most[rows].tolist()
    answers = served.together(
        "tiny", [{"x": x[row : row + 1], "times": times[row : row + 1]} for row in range(8)]
    )
    np.testing.assert_allclose(np.concatenate([one["total"] for one in answers]), total, rtol=1e-6)


@of("tensors")
def test_tensors_of_another_shape_are_refused(served: Addresses) -> None:
    times = np.ones((1, 1), np.int64)
    refused(served, "tiny", r"\[-1,3\]", x=np.ones((1, 4), np.float32), times=times)


# -- what the command says -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pipeline",
    [
        pytest.param(pipeline, marks=[pytest.mark.slow] if pipeline in SLOW else [])
        for pipeline in ("embedding", *SLOW, "tabular", "tensors")
    ],
)
def test_a_build_tells_what_it_proved(pipeline: str, built: Callable[[str], tuple[Path, str]]) -> None:
    repository, said = built(pipeline)
    assert f"published {repository}/tiny version 1, verified:" in said
    assert "0 failed" in said
    assert said.rstrip().endswith(f"serve it: builder serve {repository}")
    record = json.loads((repository / "tiny" / "1" / "manifest.json").read_text())
    assert record["plan"]["pipeline"] == pipeline
