"""Deployments of one pass as written, and what their checks are made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scripted_pipelines
from hypothesis import given
from hypothesis import strategies as st

from builder import likeness
from builder.errors import VerifyError
from builder.longest import Longest
from builder.quantization import Tolerance
from builder.recorded import Ask, read_recorded
from builder.report import Report
from builder.served import read_repository
from builder.server import Server
from builder.single_pass import Counters, SinglePass
from builder.subject import Mismatch, Skipped
from builder.triton_client import Client, TritonError
from builder.verifications import answers, answers_together
from builder.verify import checks, verify

FP32, FP16, INT8 = Tolerance(0.9999, 1e-3), Tolerance(0.999), Tolerance(0.99)


def _asked(report: Report) -> set[str]:
    assert [row for row in report.rows() if row[3] == "failed"] == []
    return {made.name for made in report.comparisons if made.skipped is None}


@pytest.mark.triton
def test_everything_passes_on_a_deployment_as_written(
    written: Callable[[str], Path], boot: Callable[..., Server], tmp_path: Path
) -> None:
    scripted_pipelines.write(tmp_path / "repository", ["moods"])
    server = boot(tmp_path / "repository")
    report = verify(written("moods"), server.http, server.grpc, server.metrics)
    of_others = {"entities_name_their_text", "documents_are_scored_alone"}
    assert {check.name for check in checks() if check.scope != "generation"} - _asked(report) == of_others


@pytest.mark.triton
@pytest.mark.slow
def test_everything_passes_on_all_deployments_in_one_server(
    boot: Callable[..., Server], tmp_path: Path
) -> None:
    for name in ("served", "written"):
        scripted_pipelines.write(tmp_path / name)
    server = boot(tmp_path / "served")
    report = verify(tmp_path / "written", server.http, server.grpc, server.metrics)
    assert {made.model for made in report.comparisons} == {"", *scripted_pipelines.DEPLOYMENTS}
    assert _asked(report) == {check.name for check in checks() if check.scope != "generation"}


@pytest.mark.triton
def test_a_burst_tells_answers_and_errors_in_their_order(
    written: Callable[[str], Path], boot: Callable[..., Server], tmp_path: Path
) -> None:
    scripted_pipelines.write(tmp_path / "repository", ["norms"])
    server = boot(tmp_path / "repository")
    client = Client(server.http, server.grpc, None, read_repository(written("norms")).configs)
    subject = SinglePass("norms", written("norms") / "norms" / "1", client)
    wide = {"x": [[1.0, 2.0, 2.0, 9.0]]}
    first, second, third = subject.burst([[{"x": [[1.0, 2.0, 2.0]]}], [wide], [{"x": [[0.0, 3.0, 4.0]]}]])
    assert isinstance(second, TritonError)
    assert isinstance(first, dict)
    assert isinstance(third, dict)
    assert (first["y"].tolist(), third["y"].tolist()) == ([3.0], [5.0])
    with pytest.raises(Skipped, match="no metrics address"):
        subject.counters()


@pytest.mark.triton
def test_of_queries_that_wait_together_no_more_pairs_are_computed_at_once_than_a_batch_holds(
    boot: Callable[..., Server], tmp_path: Path
) -> None:
    scripted_pipelines.write(tmp_path / "repository", ["ranks"])
    server = boot(tmp_path / "repository")
    client = Client(server.http, server.grpc, None, read_repository(tmp_path / "repository").configs)
    subject = SinglePass("ranks", tmp_path / "repository" / "ranks" / "1", client)
    asks = [subject.asks[place % 3].trimmed(3 + place % 8) for place in range(24)]
    answers = subject.burst([[ask.inputs] for ask in asks])
    for ask, answer in zip(asks, answers, strict=True):
        assert not isinstance(answer, TritonError)
        subject.alike(ask.id, ask.outputs, subject.row(answer))
    told = client.call("grpc", "get_inference_statistics", "ranks_encoder").model_stats[0]
    sizes = {one.batch_size: one.compute_infer.count for one in told.batch_stats}
    pairs = [len(ask.outputs["scores"]) for ask in asks]
    # one more pair was asked when the server booted
    assert sum(size * times for size, times in sizes.items()) == sum(pairs) + 1 == 157
    assert max(pairs) < max(sizes) <= 64
    assert told.execution_count < len(asks)


# -- whether requests shared a batch -------------------------------------------------------------------------


class _Counted(SinglePass):
    """A front that always answers; each request waits `waited` seconds, and `share` of them share a batch."""

    def __init__(self, repository: Path, waited: float, share: int) -> None:
        client = Client("127.0.0.1:1", "127.0.0.1:1", None, read_repository(repository).configs)
        super().__init__("moods", repository / "moods" / "1", client)
        self._waited, self._share = waited, share
        self._seen = Counters(0, 0, 0)
        self._sent = 0

    def ask(self, *rows: Any, over: str = "grpc") -> dict[str, Any]:
        return {}

    def burst(self, requests: Any) -> list[Any]:
        self._sent += len(requests)
        return [{} for _ in requests]

    def counters(self) -> Counters:
        # a few more are counted each time one looks
        requests = min(self._seen.requests + 4, self._sent)
        self._seen = Counters(requests, -(-requests // self._share), requests * self._waited)
        return self._seen


def test_shared_batches_are_counted_late_and_told_from_a_model_that_is_too_fast(
    written: Callable[[str], Path],
) -> None:
    share = answers_together.requests_share_batches
    assert share(_Counted(written("moods"), 0.1, 2)).startswith("10 requests in 5 executions")
    with pytest.raises(Mismatch, match=r"took 10 requests, which waited 1.000 s together, in 10 executions"):
        share(_Counted(written("moods"), 0.1, 1))
    with pytest.raises(Skipped, match="faster than they can be sent"):
        share(_Counted(written("moods"), 0.0001, 1))


# -- labels --------------------------------------------------------------------------------------------------


class _Labelled(SinglePass):
    """A front that gives every request these scores and this label, of these labels."""

    def __init__(self, repository: Path, scores: list[float], label: str, labels: list[str]) -> None:
        client = Client("127.0.0.1:1", "127.0.0.1:1", None, read_repository(repository).configs)
        super().__init__("moods", repository / "moods" / "1", client)
        self._answer = {
            "scores": np.array([scores], np.float32),
            "label": np.array([[label.encode()]], object),
        }
        self._labels = labels

    def labels(self) -> tuple[str, list[str]]:
        return "scores", self._labels

    def ask(self, *rows: Any, over: str = "grpc") -> dict[str, Any]:
        return self._answer


@pytest.mark.parametrize(
    ("scores", "label", "said"),
    [
        ([0.6, 0.3, 0.1], "crane", ""),
        ([0.1, 0.3, 0.6], "crane", ""),
        ([0.1, 0.6, 0.3], "cat", ""),
        ([0.1, 0.6, 0.3], "crane", "is 'crane' with 0.3, but 'cat' has 0.6"),
        ([0.6, 0.3, 0.1], "cat", "is 'cat' with 0.3, but 'crane' has 0.6"),
    ],
)
def test_two_classes_may_share_a_name(
    written: Callable[[str], Path], scores: list[float], label: str, said: str
) -> None:
    """ImageNet has two cranes, the bird and the machine."""
    subject = _Labelled(written("moods"), scores, label, ["crane", "cat", "crane"])
    if not said:
        assert answers.label_has_the_best_score(subject)
        return
    with pytest.raises(Mismatch, match=said):
        answers.label_has_the_best_score(subject)


# -- how near is near enough ---------------------------------------------------------------------------------


def _judge(wanted: Any, seen: Any, tolerance: Tolerance, **options: Any) -> str:
    try:
        likeness.require_alike("it", wanted, seen, tolerance, **options)
    except Mismatch as mismatch:
        return str(mismatch)
    return ""


@pytest.mark.parametrize(
    ("wanted", "seen", "scale", "said"),
    [
        # a thousandth of how far a regressor's answers lie apart, whatever their size
        ([2e-6], np.array([2.0009e-6]), [1e-6], ""),
        ([2e-6], np.array([2.0011e-6]), [1e-6], "off by 1.10e-09, at most 1.0e-09"),
        ([3e6], np.array([3e6 + 0.9]), [1e3], ""),
        ([3e6], np.array([3e6 - 1.1]), [1e3], "off by 1.10e+00, at most 1.0e+00"),
        # each number in its own units, and no direction beside
        ([3e6, 1e-3], np.array([3e6 + 900, 1.0009e-3]), [1e6, 1e-3], ""),
        ([3e6, 1e-3], np.array([3e6 + 900, 1.0011e-3]), [1e6, 1e-3], "is 0.0010011 at 1, expected 0.001"),
        ([0.0, 0.0], np.array([1e-9, 0.0]), [1.0, 1.0], ""),
        ([1.0, np.inf], np.array([1.0, np.inf]), [1.0, 1.0], ""),
        ([1.0, np.inf], np.array([1.0, 2.0]), [1.0, 1.0], "is 2 at 0, expected inf"),
        ([1.0], np.array([np.nan]), [1.0], "is nan"),
        ([1.0], np.array([1.0, 1.0]), [1.0], "shape [2], expected [1]"),
    ],
)
def test_near_is_a_share_of_the_scale(wanted: Any, seen: Any, scale: Any, said: str) -> None:
    found = _judge(wanted, seen, FP32, scale=scale)
    assert found == "" if not said else said in found, found


@pytest.mark.parametrize(
    ("wanted", "seen", "tolerance", "said"),
    [
        ([0.6, 0.8], np.array([0.6009, 0.8]), FP32, ""),
        ([0.6, 0.8], np.array([0.6011, 0.8]), FP32, "is 0.6011 at 0, expected 0.6: off by 1.10e-03"),
        # numbers above one may be off by as much of their own size
        ([3e5], np.array([3e5 + 250]), FP32, ""),
        ([3e5], np.array([3e5 + 350]), FP32, "off by 3.50e+02, at most 3.0e+02"),
        ([1.0, 0.0], np.array([1.0, 0.04]), FP16, ""),
        ([1.0, 0.0], np.array([1.0, 0.05]), FP16, "has cosine 0.998752 to what was expected, at least 0.999"),
        ([1.0, 0.0], np.array([1.0, 0.14]), INT8, ""),
        ([1.0, 0.0], np.array([1.0, 0.15]), INT8, "has cosine"),
        # 2 * sqrt(2 * 0.001) = 0.0894
        ([0.6, 0.8], np.array([0.65, 0.8667]), FP16, ""),
        ([0.6, 0.8], np.array([6.0, 8.0]), FP16, "has length 10, expected 1 give or take 0.089"),
        ([0.5], np.array([0.58]), FP16, ""),
        ([0.5], np.array([0.6]), FP16, "is 0.6 at 0, expected 0.5"),
        ([0.0, 0.0], np.array([0.0, 0.0]), FP16, ""),
        ([0.0, 0.0], np.array([0.1, 0.0]), FP16, "has cosine 0.000000"),
        ([0.1, 0.2], np.array([0.1, np.nan]), FP16, "is nan at 1, expected 0.2"),
        ([0.1, 0.2], np.array([0.1, np.inf]), FP16, "is inf at 1, expected 0.2"),
        ([0.1, -np.inf], np.array([0.1, -np.inf]), FP32, ""),
        ([0.1, -np.inf], np.array([0.1, -9.0]), FP32, "is -9 at 0, expected -inf"),
        ([0.1, 0.2], np.array([0.1, 0.2, 0.3]), FP16, "has shape [3], expected [2]"),
        ([[0.1], [0.2]], np.array([0.1, 0.2]), FP16, "has shape [2], expected [2, 1]"),
        ([0.1, 0.2], [0.1, 0.2], FP16, ""),
        # a count is a count in any precision
        ([7], np.array([7], np.int32), INT8, ""),
        ([7.0], np.array([7], np.int64), INT8, ""),
        ([700], np.array([701], np.int32), INT8, "is [701], expected [700]"),
        (["glad"], np.array([b"glad"], np.object_), FP32, ""),
        (["glad"], np.array([b"grim"], np.object_), FP32, "is ['grim'], expected ['glad']"),
        (["glad"], np.array([0.5]), FP32, "is [0.5], expected ['glad']"),
    ],
)
def test_near_is_what_the_precision_allows(wanted: Any, seen: Any, tolerance: Tolerance, said: str) -> None:
    found = _judge(wanted, seen, tolerance)
    assert found == "" if not said else said in found, found


@given(
    vector=st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=8).filter(
        lambda v: max(map(abs, v)) > 0.1
    ),
    scale=st.floats(1.3, 50),
)
def test_no_scale_goes_unnoticed_where_only_directions_count(vector: list[float], scale: float) -> None:
    wanted = np.array(vector) / np.linalg.norm(vector)
    assert _judge(wanted.tolist(), wanted.copy(), INT8) == ""
    assert "length" in _judge(wanted.tolist(), wanted * scale, INT8)


def _entities(**more: Any) -> list[str]:
    return [json.dumps([{"entity": "PER", "score": 0.9, "start": 2, "end": 5, "text": "Zoé", **more}])]


@pytest.mark.parametrize(
    ("more", "tolerance", "said"),
    [
        ({}, FP32, ""),
        ({"score": 0.9005}, FP32, ""),
        ({"score": 0.902}, FP32, "the score of 'Zoé' is off by 2.00e-03, at most 1.0e-03"),
        ({"score": 0.94}, FP16, ""),
        ({"score": 0.8}, FP16, "the score of 'Zoé' is off by 1.00e-01, at most 4.5e-02"),
        ({"start": 3}, FP16, "('PER', 3, 5, 'Zoé')"),
        ({"entity": "LOC"}, INT8, "expected [('PER', 2, 5, 'Zoé')]"),
    ],
)
def test_entities_are_compared_one_by_one(more: dict[str, Any], tolerance: Tolerance, said: str) -> None:
    seen = np.array([text.encode() for text in _entities(**more)], dtype=np.object_)
    found = _judge(_entities(), seen, tolerance, entities=True)
    assert found == "" if not said else said in found, found


def test_an_entity_too_many_is_noticed() -> None:
    assert "expected []" in _judge(
        ["[]"], np.array([_entities()[0].encode()], np.object_), FP32, entities=True
    )


@pytest.mark.parametrize(
    ("values", "shape"), [([], (0,)), (["a", b"\xe9"], (2,)), ([[1.0], [2.0], [3.0]], (3, 1)), (5, ())]
)
def test_shapes_are_those_of_nested_lists(values: Any, shape: tuple[int, ...]) -> None:
    assert likeness.shape(values) == shape


# -- what the folder says ------------------------------------------------------------------------------------


def _golden(**more: Any) -> str:
    ask = {"id": "one", "inputs": {"image": [{"base64": "/wA="}]}, "outputs": {"scores": [0.5]}}
    told = {"format": 1, "tolerance": {"cosine": 0.99}, "batched": "x", "asks": [ask], "refuses": [], **more}
    return json.dumps(told)


def test_bytes_and_infinity_are_read(tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    path.write_text(_golden())
    recorded = read_recorded(path)
    assert recorded.asks[0].inputs == {"image": [b"\xff\x00"]}
    assert recorded.tolerance == Tolerance(0.99, float("inf"))
    assert recorded.scale == {}
    path.write_text(_golden(scale={"prediction": [2, 0.5]}))
    assert read_recorded(path).scale == {"prediction": (2.0, 0.5)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read: FileNotFoundError"),
        ("{", "cannot be read: JSONDecodeError"),
        ("[]", "cannot be read: TypeError"),
        ("{}", "cannot be read: KeyError: 'format'"),
        (_golden(format=2), "has format 2"),
        (_golden(asks=[]), "holds no question"),
        (_golden(asks=[{"id": "one"}]), "cannot be read: KeyError: 'inputs'"),
        (_golden(tolerance=[1]), "cannot be read: AttributeError"),
        (_golden(tolerance={"cosinus": 1}), "cannot be read: TypeError"),
        (_golden(scale={"prediction": 1}), "cannot be read: TypeError"),
    ],
)
def test_a_recording_that_is_wrong_says_so(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "golden.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(VerifyError) as failure:
        read_recorded(path)
    assert str(failure.value).startswith(f"{path} {said}")


def test_a_question_is_trimmed_to_its_first_documents() -> None:
    ask = Ask("one", {"query": ["?"], "documents": ["a", "b", "c"]}, {"scores": [0.1, 0.2, 0.3]})
    assert ask.trimmed(2).inputs == {"query": ["?"], "documents": ["a", "b"]}
    assert ask.trimmed(2).outputs == {"scores": [0.1, 0.2]}
    other = Ask("two", {"text_input": ["a"]}, {"embedding": [0.1, 0.2]})
    assert other.trimmed(1) is other


def _subject(repository: Path, name: str) -> SinglePass:
    client = Client("127.0.0.1:1", "127.0.0.1:1", None, read_repository(repository).configs)
    return SinglePass(name, repository / name / "1", client)


@pytest.mark.parametrize("name", ["moods", "ranks"])
@pytest.mark.parametrize("tokens", [12, 40, 41])
def test_the_longest_text_has_exactly_as_many_tokens(
    written: Callable[[str], Path], name: str, tokens: int
) -> None:
    import scripted_repository

    longest = Longest(_subject(written(name), name))
    assert (longest.most, longest.truncates) == (40, name == "ranks")
    row = longest.row(tokens)
    texts = [row["text_input"][0]] if name == "moods" else [row["query"][0], row["documents"][0]]
    assert len(scripted_repository.trained_tokenizer().encode(*texts).ids) == tokens


def test_no_text_is_found_where_none_is_that_short(written: Callable[[str], Path]) -> None:
    # the template alone takes three
    with pytest.raises(Skipped, match="no text of exactly 2 tokens"):
        Longest(_subject(written("ranks"), "ranks")).row(2)


def test_a_table_has_no_longest_text(written: Callable[[str], Path]) -> None:
    with pytest.raises(Skipped, match="takes no text"):
        Longest(_subject(written("table"), "table"))
