"""Scores of a small reranker through the gateway: those of its source, in the form of Cohere and Jina."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import source_answers
from gateway_process import Gateway

from builder.gateway.protocol import rerank

pytestmark = pytest.mark.triton
PATH = "/v1/rerank"
QUERY = "Where is Paris?"
DOCUMENTS = ["Paris", "OK", "", "a b c", "Hamburg", "seven", "in France", "by the sea", "a house", "yes"] * 2


@pytest.fixture
def ask(real: Gateway) -> Any:
    def asked(path: str = PATH, **more: Any) -> Any:
        status, told = real.post(path, **{"model": "ranker", "query": QUERY, "documents": DOCUMENTS} | more)
        assert status == 200, told
        return told

    return asked


@pytest.mark.slow
@pytest.mark.parametrize("path", rerank.PATHS)
def test_scores_are_those_of_the_source(ask: Any, ranker: Path, path: str) -> None:
    """More documents than the model takes at once, too."""
    told = ask(path)
    assert told["model"] == "ranker" and told["id"]
    expected = source_answers.reranking(ranker, QUERY, DOCUMENTS)
    found = {one["index"]: one["relevance_score"] for one in told["results"]}
    assert len(told["results"]) == len(DOCUMENTS) == len(found)
    np.testing.assert_allclose([found[place] for place in range(len(DOCUMENTS))], expected, atol=1e-4)
    scores = [one["relevance_score"] for one in told["results"]]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) > 3
    assert all(list(one) == ["index", "relevance_score"] for one in told["results"])


@pytest.mark.slow
def test_the_best_with_their_texts(ask: Any) -> None:
    everything = ask()["results"]
    told = ask(top_n=3, return_documents=True)["results"]
    assert [one["index"] for one in told] == [one["index"] for one in everything[:3]]
    for one in told:
        assert one["document"] == {"text": DOCUMENTS[one["index"]]}
    assert len(ask(top_n=100)["results"]) == len(DOCUMENTS)


@pytest.mark.slow
def test_documents_as_objects(ask: Any) -> None:
    told = ask(documents=[{"text": one, "title": "a"} for one in DOCUMENTS])
    assert told["results"] == ask()["results"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"query": None}, "query"),
        ({"query": ["a"]}, "query"),
        ({"query": "\ud800"}, "query"),
        ({"documents": None}, "documents"),
        ({"documents": []}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"documents": ["a"] * 2049}, "documents"),
        ({"documents": ["a", 1]}, "documents[1]"),
        ({"documents": [{"title": "a"}]}, "documents[0]"),
        ({"documents": ["a", {"image": "data:image/png;base64,AAAA"}]}, "documents[1]"),
        ({"top_n": 0}, "top_n"),
        ({"return_documents": "yes"}, "return_documents"),
        ({"max_chunks_per_doc": 2}, "max_chunks_per_doc"),
        ({"rank_fields": ["title"]}, "rank_fields"),
    ],
)
def test_refusals_name_the_parameter(real: Gateway, fields: Any, param: str) -> None:
    usual = {"model": "ranker", "query": QUERY, "documents": DOCUMENTS}
    status, error = real.refusal(PATH, **{**usual, **fields})
    assert (status, error["param"]) == (400, param), error


@pytest.mark.slow
def test_a_pair_that_is_too_long(real: Gateway) -> None:
    status, error = real.refusal(PATH, model="ranker", query=QUERY, documents=["a", "a " * 60])
    assert status == 400 and "at most 40" in error["message"]


@pytest.mark.slow
def test_a_model_that_ranks_nothing(real: Gateway) -> None:
    status, error = real.refusal(PATH, model="smollm2", query=QUERY, documents=DOCUMENTS)
    assert (status, error["param"]) == (404, "model")
    assert "asks models for reranking" in error["message"]


def test_equal_scores_keep_the_order_of_the_documents() -> None:
    found = rerank.ranked(np.array([0.5, 0.75, 0.5, 0.75], np.float32), None)
    assert [one["index"] for one in found] == [1, 3, 0, 2]
