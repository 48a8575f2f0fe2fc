"""A batch spread over cores answers as one run does, and is divided only where that is faster."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from backends.onnxruntime import batch, options, sessions, spreading  # noqa: E402

CONFIG: dict[str, Any] = {
    "name": "m",
    "max_batch_size": 64,
    "input": [{"name": "ids", "data_type": "TYPE_INT32", "dims": [-1], "allow_ragged_batch": True}],
    "batch_input": [
        {
            "kind": "BATCH_ELEMENT_COUNT",
            "source_input": ["ids"],
            "target_name": ["counts"],
            "data_type": "TYPE_INT32",
        }
    ],
    "output": [{"name": "doubled", "data_type": "TYPE_INT32", "dims": [1]}],
}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph that answers each request with its number of elements, doubled; no element may be negative."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("ReduceMin", ["ids"], ["least"], keepdims=0),
        helper.make_node("Sqrt", ["as_float"], ["root"]),
        helper.make_node("Cast", ["least"], ["as_float"], to=kinds.FLOAT),
        helper.make_node("Add", ["counts", "counts"], ["sums"]),
        helper.make_node("Reshape", ["sums", "rows"], ["doubled"]),
    ]
    nodes.insert(1, nodes.pop(2))
    made = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("ids", kinds.INT32, ["n"]),
            helper.make_tensor_value_info("counts", kinds.INT32, ["r"]),
        ],
        [
            helper.make_tensor_value_info("doubled", kinds.INT32, ["r", 1]),
            helper.make_tensor_value_info("root", kinds.FLOAT, []),
        ],
        [helper.make_tensor("rows", kinds.INT64, [2], [-1, 1])],
    )
    file = tmp_path_factory.mktemp("spread") / "model.onnx"
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, file)
    return file


def told(**more: Any) -> options.Options:
    return options.read({**CONFIG, **more}, "CPU", "0")


@pytest.fixture
def spread(graph: Path, monkeypatch: pytest.MonkeyPatch) -> spreading.Spread:
    monkeypatch.setattr(spreading, "cores", lambda: 2)
    return spreading.Spread(graph, told())


def requests(*sizes: int) -> list[dict[str, Any]]:
    return [{"ids": np.full((1, size), size, np.int32)} for size in sizes]


def shares(spread: spreading.Spread, given: list[dict[str, Any]]) -> list[Any]:
    layout = batch.layout(CONFIG)
    begun = spread.start(["doubled"], spread.parts(given, layout), given, layout)
    found: dict[int, Any] = {}
    for ending, part in begun.items():
        found |= dict(zip(part, ending.result()["doubled"], strict=True))
    return [found[place].tolist() for place in range(len(given))]


def test_each_request_gets_its_own_share(spread: spreading.Spread) -> None:
    sizes = (200, 130, 140, 210, 128, 129)
    assert shares(spread, requests(*sizes)) == [[[2 * size]] for size in sizes]


def test_a_lone_long_request_has_all_cores(spread: spreading.Spread) -> None:
    assert spread.parts(requests(500), batch.layout(CONFIG)) == []
    assert spread.parts(requests(500, 10), batch.layout(CONFIG)) == []
    assert spread.parts(requests(120, 130), batch.layout(CONFIG)) == []


def test_what_comes_while_others_run_takes_the_core_that_is_free(
    spread: spreading.Spread, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, goes_on = batch.layout(CONFIG), threading.Event()
    run = batch.feeds
    monkeypatch.setattr(batch, "feeds", lambda *given: goes_on.wait(60) and run(*given))
    first = requests(200, 200, 200)
    spread.start(["doubled"], [[0]], first, layout)
    assert spread.parts(requests(500, 10), layout) == [[0], [1]]
    assert spread.parts(requests(500), layout) == [[0]]
    more = spread.start(["doubled"], [[1], [2]], first, layout)
    ended = spread.ended()
    goes_on.set()
    # of three parts on two cores one waits: with the first that ends, none does
    assert len(next(ended)) >= 1
    assert not list(ended)
    assert all(ending.result() for ending in more)


def test_a_part_that_fails_fails_alone(spread: spreading.Spread) -> None:
    broken = [*requests(200, 200), {"wrong": np.zeros((1, 200), np.int32), **requests(200)[0]}]
    begun = spread.start(["doubled"], [[2], [1], [0]], broken, batch.layout(CONFIG))
    failed, *others = begun
    assert "wrong" in str(failed.exception())
    assert [other.result()["doubled"][0].tolist() for other in others] == [[[400]], [[400]]]


@given(st.lists(st.integers(1, 600), min_size=1, max_size=64), st.integers(2, 16))
def test_every_request_is_in_one_part(sizes: list[int], threads: int) -> None:
    parts = spreading.divided(sizes, threads)
    assert sorted(place for part in parts for place in part) == list(range(len(sizes)))
    assert all(len(part) == 1 or sum(sizes[place] for place in part) <= spreading._MOST for part in parts)


def test_worked_by_hand() -> None:
    # of 490, parts of up to 490 / (3 x 2) = 81: each is one; 140 + 100 on one core, 130 + 120 on the other
    assert spreading.divided([140, 100, 130, 120], 2) == [[0], [2], [3], [1]]
    assert spreading.is_even([[0], [2], [3], [1]], [140, 100, 130, 120], 2)
    # of 300, parts of up to 50: 10, 10 and 20 are one
    assert spreading.divided([10, 120, 20, 140, 10], 2) == [[3], [1], [0, 4, 2]]
    # 255 are too few for two cores
    assert not spreading.is_even([[0], [1], [2]], [85, 85, 85], 2)
    # one core would work on 300 of 400
    assert not spreading.is_even([[0], [1]], [300, 100], 2)


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"max_batch_size": 0}, "CPU"),
        ({"parameters": {"intra_op_thread_count": {"string_value": "2"}}}, "CPU"),
        ({"input": [{"name": "ids", "data_type": "TYPE_INT32", "dims": [4]}]}, "CPU"),
    ],
)
def test_what_is_not_spread(more: dict[str, Any], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreading, "cores", lambda: 2)
    assert spreading.applies(told(), batch.layout(CONFIG))
    assert not spreading.applies(told(**more), batch.layout({**CONFIG, **more}))
    monkeypatch.setattr(spreading, "cores", lambda: 1)
    assert not spreading.applies(told(), batch.layout(CONFIG))


def test_idle_threads_sleep(graph: Path) -> None:
    calm = spreading.calm(told())
    assert calm.entries["session.force_spinning_stop"] == "1"
    assert sessions.load(graph, calm).get_inputs()[0].name == "ids"
