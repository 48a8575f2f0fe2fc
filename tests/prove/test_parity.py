"""How far an artifact is from its source, over inputs alone and together, on numbers worked out by hand."""

import json
import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from builder.proving import parity
from builder.proving.sample import Asked, Case, Samples, lengths, plain
from builder.proving.samples import pairs, tensors, texts

# none so small that its square is none
NUMBERS = st.integers(-(10**6), 10**6).map(lambda number: number / 1000)
# so few values that many are equal
COARSE = st.integers(-3, 3).map(float)


def vectors(elements=NUMBERS, least=1):
    return st.integers(least, 20).flatmap(lambda size: arrays("float64", size, elements=elements))


# -- cosine, distance, rank correlation ------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1, 0], [0, 2], 0.0),
        ([3, 4], [4, 3], 0.96),  # (12 + 12) / 25
        ([1, 1], [1, 0], math.sqrt(0.5)),
        ([1, 2, 2], [-2, -4, -4], -1.0),
        ([[3, 0], [0, 4]], [[4, 0], [0, 3]], 0.96),  # a table is one vector
        ([0, 0], [0, 0], 1.0),
        ([0, 0], [1, 0], 0.0),
        ([], [], 1.0),
    ],
)
def test_cosine_by_hand(one, other, expected):
    assert parity.cosine(np.array(one, np.float32), np.array(other)) == pytest.approx(expected, abs=1e-12)


@given(vectors(), st.floats(0.01, 100))
def test_cosine_knows_no_length(vector, times):
    assert parity.cosine(vector, times * vector) == pytest.approx(1, abs=1e-9)


@given(vectors())
def test_cosine_and_distance_of_the_same_and_of_the_opposite(vector):
    assert parity.distance(vector, vector) == 0
    assert parity.distance(vector, -vector) == 2 * np.abs(vector).max()
    if np.linalg.norm(vector):
        assert parity.cosine(vector, -vector) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, -2.0, 3.0], [1.5, -2.0, 2.75], 0.5),
        ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, -4.0]], 8.0),
        ([], [], 0.0),
        ([1.0, 2.0], [[1.0, 2.0]], math.inf),
        ([1.0, 2.0], [1.0], math.inf),
        ([1.0], [math.inf], math.inf),
    ],
)
def test_distance_by_hand(one, other, expected):
    assert parity.distance(np.array(one), np.array(other)) == expected


INFINITE = np.array([1.0, math.inf])


@pytest.mark.parametrize(
    ("one", "other", "apart", "alike"),
    [
        (INFINITE, INFINITE, 0.0, 1.0),
        (INFINITE, -INFINITE, math.inf, 0.0),
        (np.array([["a"], ["b"]], object), np.array([["a"], ["b"]], object), 0.0, 1.0),
        (np.array([["a"], ["b"]], object), np.array([["a"], ["c"]], object), math.inf, 0.0),
        (np.array(["a"], object), np.array([1.0]), math.inf, 0.0),
    ],
)
def test_infinite_numbers_and_texts_are_the_same_or_not(one, other, apart, alike):
    assert (parity.distance(one, other), parity.cosine(one, other)) == (apart, alike)


def test_distance_to_what_is_not_a_number_is_not_a_number():
    assert math.isnan(parity.distance(np.array([1.0, 2.0]), np.array([1.0, math.nan])))
    assert math.isnan(parity.cosine(np.array([1.0, 2.0]), np.array([1.0, math.nan])))


def test_distance_of_float16_is_not_rounded_to_float16():
    assert parity.distance(np.array([2048.0]), np.array([2049.5], np.float16)) == 2.0


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1.0),
        ([1, 2, 3, 4], [1, 8, 27, 64], 1.0),  # ranks, not values
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        # one pair changed places: 1 - 6 x 2 / (4 x 15)
        ([1, 2, 3, 4], [2, 1, 3, 4], 0.8),
        # ranks 1, 2, 3, 4 and 1.5, 1.5, 3, 4: 4.5 / sqrt(5 x 4.5)
        ([1, 2, 3, 4], [5, 5, 6, 7], 4.5 / math.sqrt(22.5)),
    ],
)
def test_rank_correlation_by_hand(one, other, expected):
    assert parity.rank_correlation(one, other) == pytest.approx(expected)


@given(st.integers(3, 30), st.data())
def test_rank_correlation_is_that_of_scipy(size, data):
    stats = pytest.importorskip("scipy.stats")
    values = st.lists(COARSE | NUMBERS, min_size=size, max_size=size).filter(lambda one: len(set(one)) > 1)
    one, other = data.draw(values), data.draw(values)
    assert parity.rank_correlation(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)


# -- batches -----------------------------------------------------------------------------------------


def cases(number):
    return [Case(f"case {index}", index, np.array([float(index)])) for index in range(number)]


@given(st.integers(1, 150), st.integers(1, 100))
def test_every_case_is_asked_alone_and_in_batches_of_every_size(number, most):
    every = cases(number)
    made = list(parity.batches(every, most))
    assert max(len(batch) for batch in made) <= most
    assert all(len({case.id for case in batch}) == len(batch) > 0 for batch in made)
    sizes = sorted({size for size in (1, 2, 3, 5, 8, 16, 32, most) if size <= most})
    rounds = [1 if size == 1 else 2 for size in sizes]
    assert Counter(case.id for batch in made for case in batch) == {case.id: sum(rounds) for case in every}
    # whole batches of a size, and one of what is left over
    expected = Counter()
    for size, times in zip(sizes, rounds, strict=True):
        expected[size] += number // size * times
        expected[number % size] += times
    del expected[0]
    assert Counter(len(batch) for batch in made) == +expected


def test_whoever_asks_first_is_alone():
    made = list(parity.batches(cases(7), 64))
    assert [len(batch) for batch in made[:7]] == [1] * 7


def test_batches_repeat_and_their_neighbours_change():
    made = [[case.given for case in batch] for batch in parity.batches(cases(40), 64)]
    assert made == [[case.given for case in batch] for batch in parity.batches(cases(40), 64)]
    pairs_of = [tuple(sorted(batch)) for batch in made if len(batch) == 2]
    assert len(set(pairs_of)) > 30


# -- comparing ---------------------------------------------------------------------------------------


class Doubling:
    """A sampling of numbers that a graph should double, in two layouts."""

    LAYOUTS = ("without padding", "with padding")

    def feeds(self, batch, layout):
        return {"x": np.array([float(case.given) for case in batch]), "padding": layout == "with padding"}

    def split(self, output, batch):
        return list(output)


class Graph:
    """A session; `wrong(x, size, padded)` says how far its answer to x is off."""

    def __init__(self, wrong=lambda x, size, padded: 0.0):
        self.wrong, self.asked = wrong, []

    def run(self, outputs, feeds):
        assert outputs == ["y"]
        values, padded = feeds["x"], feeds["padding"]
        self.asked.append((len(values), padded))
        return [np.array([[2 * x + self.wrong(x, len(values), padded), 1.0] for x in values], np.float64)]


def asked(most=8, **changes):
    values = {
        "name": "mine", "pipeline": "embedding", "samples": "texts", "main": "y", "exporter": "some",
        "model_type": "bert", "model": Path("model"), "tokenizer": Path("tokenizer"),
        "source": Path("source"), "config": {}, "settings": {"max_tokens": 16, "labels": []},
        "truncates": False, "max_batch_size": most, "provider": "cpu", "out": Path("out"),
    }  # fmt: skip
    return Asked(**{**values, **changes})


def compared(graph, number=10, most=8):
    found = [Case(f"case {x}", x, np.array([2.0 * x, 1.0])) for x in range(number)]
    rows = parity.compare(graph, Doubling(), Samples(found, []), asked(most))
    return {row["id"]: row for row in rows}


def test_a_faithful_artifact_has_no_error_anywhere(capsys):
    graph = Graph()
    rows = compared(graph)
    assert list(rows) == [f"case {x}" for x in range(10)]
    for row in rows.values():
        assert (row["cosine"], row["error"], row["drift"]) == (pytest.approx(1), 0, 0)
    # every batch in both layouts
    assert Counter(padded for _, padded in graph.asked) == {False: len(graph.asked) // 2, True: (
        len(graph.asked) // 2
    )}  # fmt: skip
    assert {size for size, _ in graph.asked} == {1, 2, 3, 5, 8}
    printed = capsys.readouterr().out.split()
    assert printed[-1] == f"{len(graph.asked) // 2}/{len(graph.asked) // 2}"


def test_an_error_alone_is_told_of_its_case_and_is_no_drift():
    rows = compared(Graph(lambda x, size, padded: 0.25 if x == 3 else 0.0))
    assert rows["case 3"]["error"] == 0.25
    assert rows["case 3"]["drift"] == 0
    # (6, 1) and (6.25, 1)
    assert rows["case 3"]["cosine"] == pytest.approx(38.5 / math.sqrt(37 * 40.0625))
    assert rows["case 3"]["where"] == "1 together, without padding"
    assert all(row["error"] == 0 for name, row in rows.items() if name != "case 3")


def test_what_only_padding_breaks_is_found_and_named():
    rows = compared(Graph(lambda x, size, padded: 0.5 if padded and x == 2 else 0.0))
    assert (rows["case 2"]["error"], rows["case 2"]["drift"]) == (0.5, 0.5)
    assert rows["case 2"]["where"] == "1 together, with padding"


def test_what_only_company_breaks_is_found_and_named():
    rows = compared(Graph(lambda x, size, padded: 0.1 * size if size >= 5 and x == 7 else 0.0))
    assert rows["case 7"]["error"] == pytest.approx(0.8)
    assert rows["case 7"]["drift"] == pytest.approx(0.8)
    assert rows["case 7"]["where"].startswith("8 together, ")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", [(1, False), (2, True), (8, False), (8, True)])
def test_one_answer_that_is_no_number_is_never_forgotten(number, where):
    """Neither by better answers after it, nor by worse ones."""

    def wrong(x, size, padded):
        return number if x == 4 and (size, padded) == where else 1e9 if x == 4 and size == 3 else 0.0

    with np.errstate(invalid="ignore"):
        rows = compared(Graph(wrong), number=8)
    assert not rows["case 4"]["error"] <= 1e300
    assert not rows["case 4"]["drift"] <= 1e300
    if math.isnan(number):
        assert not rows["case 4"]["cosine"] >= -1
        assert rows["case 4"]["where"].startswith(f"{where[0]} together, with")
    assert all(row["error"] == 0 for name, row in rows.items() if name != "case 4")


def test_an_answer_of_another_shape_is_infinitely_far():
    class Longer(Graph):
        def run(self, outputs, feeds):
            (found,) = super().run(outputs, feeds)
            return [np.concatenate([found, found], axis=1)] if len(found) == 5 else [found]

    rows = compared(Longer())
    assert all(row["error"] == math.inf and row["cosine"] == 0 for row in rows.values())


def test_answers_that_are_too_few_are_not_passed_over():
    class Fewer(Graph):
        def run(self, outputs, feeds):
            (found,) = super().run(outputs, feeds)
            return [found[1:]] if len(found) == 3 else [found]

    with pytest.raises(ValueError, match="shorter"):
        compared(Fewer())


# -- likeness of texts -------------------------------------------------------------------------------


class Turned:
    """A session that gives unit vectors at the angles it is fed, `twist` off."""

    def __init__(self, twist=lambda angle: angle):
        self.twist = twist

    def run(self, outputs, feeds):
        return [np.array([[math.cos(self.twist(x)), math.sin(self.twist(x))] for x in feeds["x"]])]


def at(*angles):
    return [Case(str(angle), angle, np.array([math.cos(angle), math.sin(angle)])) for angle in angles]


def test_likeness_that_is_kept():
    real = at(0.0, 0.1, 0.3, 0.7, 1.2)
    # turned as a whole, and pressed together: which two are nearest stays
    for session in (Turned(), Turned(lambda angle: angle / 2 + 1)):
        assert parity.likeness_kept(session, Doubling(), real, "y") == pytest.approx(1)


def test_likeness_that_is_lost():
    real = at(0.0, 0.1, 0.3, 0.7)
    mixed = {0.0: 0.7, 0.1: 0.0, 0.3: 0.1, 0.7: 0.3}
    found = parity.likeness_kept(Turned(lambda angle: mixed[angle]), Doubling(), real, "y")
    # angles between texts, nearest first: .1 .2 .3 .4 .6 .7; of the artifact .7 .1 .6 .2 .3 .4
    ranks = [[1, 2, 3, 4, 5, 6], [6, 1, 5, 2, 3, 4]]
    expected = 1 - 6 * sum((one - other) ** 2 for one, other in zip(*ranks, strict=True)) / (6 * 35)
    assert found == pytest.approx(expected)
    assert found < 0.5


@pytest.mark.parametrize("number", range(3))
def test_two_texts_have_no_rank(number):
    assert parity.likeness_kept(Turned(), Doubling(), at(*range(number)), "y") is None


# -- what is sampled ---------------------------------------------------------------------------------


@given(st.integers(1, 600))
def test_lengths_of_the_sweep(most):
    found = lengths(most)
    assert found == sorted(set(found))
    assert set(range(1, min(most, 16) + 1)) <= set(found)
    assert found[-1] == most
    assert most == 1 or most - 1 in found
    for power in (32, 64, 128, 256, 512):
        wanted = {length for length in (power - 1, power, power + 1) if length <= most}
        assert wanted <= set(found)


def test_the_shipped_texts_have_names_of_their_own():
    """A case is known by its whole text, a golden question by its first forty characters."""
    shipped = texts.texts()
    assert len(shipped) >= 40
    assert len(set(shipped)) == len(shipped)
    assert len({text[:40] for text in shipped}) == len(shipped)
    assert len(set(pairs._QUERIES)) == len(pairs._QUERIES)


def row(*ids):
    return Case(str(ids), list(ids), np.zeros(2))


def test_texts_without_padding_lie_one_after_the_other():
    feeds = texts.feeds([row(5, 6, 7), row(8)], "without padding")
    assert feeds["input_ids"].tolist() == [5, 6, 7, 8]
    assert feeds["rows"].tolist() == [[3, 3], [1, 1]]
    assert {array.dtype for array in feeds.values()} == {np.dtype("int32")}


def test_texts_with_padding_have_one_width_that_is_more_than_the_longest():
    feeds = texts.feeds([row(5, 6, 7), row(8)], "with padding")
    assert feeds["input_ids"].tolist() == [5, 6, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0]
    assert feeds["rows"].tolist() == [[3, 6], [1, 6]]


@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=9), min_size=1, max_size=6))
def test_every_layout_of_texts_holds_every_id(rows):
    batch = [row(*ids) for ids in rows]
    for layout in texts.LAYOUTS:
        feeds = texts.feeds(batch, layout)
        ends = np.cumsum(feeds["rows"][:, 1])
        assert ends[-1] == len(feeds["input_ids"])
        read = [
            feeds["input_ids"][end - width : end - width + tokens].tolist()
            for end, (tokens, width) in zip(ends, feeds["rows"], strict=True)
        ]
        assert read == rows


def test_an_output_per_token_is_cut_to_the_rows_own():
    batch = [row(1, 2, 3), row(4)]
    output = np.arange(12.0).reshape(2, 3, 2)
    found = texts.split(output, batch)
    assert [one.tolist() for one in found] == [output[0].tolist(), [[6.0, 7.0]]]
    assert [one.tolist() for one in texts.split(output[:, 0], batch)] == [[0.0, 1.0], [6.0, 7.0]]


def pair(first, *ids):
    return Case(str(ids), (list(ids), first), np.zeros(1))


def test_pairs_lie_one_after_the_other():
    batch = [pair(2, 5, 6, 7), pair(1, 8, 9)]
    bare = {name: array.tolist() for name, array in pairs.feeds(batch, "without padding").items()}
    assert bare == {
        "input_ids": [5, 6, 7, 8, 9], "extent": [0] * 5, "places": [0] * 3,
        "rows": [[3, 3, 2], [2, 2, 1]],
    }  # fmt: skip
    padded = {name: array.tolist() for name, array in pairs.feeds(batch, "with padding").items()}
    assert padded == {
        "input_ids": [5, 6, 7, 0, 0, 0, 8, 9, 0, 0, 0],
        "extent": [0] * 8,
        "places": [0] * 6,
        "rows": [[3, 6, 2], [2, 5, 1]],
    }
    assert [one.tolist() for one in pairs.split(np.array([[0.5], [0.25]]), batch)] == [[0.5], [0.25]]


@pytest.mark.parametrize(
    ("expected", "output", "found"),
    [
        # a graph that batches: the rows of two cases, and of one
        ((3,), np.zeros((2, 3)), [(3,), (3,)]),
        ((3,), np.zeros((1, 3)), [(3,)]),
        # one that does not, also where its answer looks like one row, or like as many as there are cases
        ((4, 3), np.zeros((4, 3)), [(4, 3)]),
        ((1, 3), np.zeros((1, 3)), [(1, 3)]),
        ((1,), np.zeros(1), [(1,)]),
    ],
)
def test_answers_of_bare_graphs(expected, output, found):
    batch = [Case(str(number), None, np.zeros(expected)) for number in range(len(found))]
    assert [one.shape for one in tensors.split(output, batch)] == found


def test_numbers_for_json_are_rounded_to_what_float32_knows():
    assert plain(np.array([[0.1, 2.0]], np.float32)) == [[0.1, 2.0]]


# -- the whole part ----------------------------------------------------------------------------------


def test_the_part_writes_proof_and_golden_answers(tmp_path, monkeypatch):
    """With a real graph and ONNX Runtime; only the inputs are made up."""
    import onnxruntime
    from onnx import TensorProto, helper, save

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "double", [x], [y])
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "model.onnx",
    )

    class Made:
        LAYOUTS = ("one after the other",)

        def reference(self, asked):
            return "the reference"

        def samples(self, asked):
            assert (asked.name, asked.most, asked.labels) == ("mine", 16, [])
            found = [Case(f"case {index}", float(index), np.array([2.0 * index])) for index in range(5)]
            return Samples(found, [{"id": "é"}], [{"id": "refused"}])

        def feeds(self, batch, layout):
            return {"x": np.array([[case.given] for case in batch], np.float32)}

        def split(self, output, batch):
            return list(output)

    monkeypatch.setattr(parity.house, "plugin", lambda *arguments, **names: Made())
    request = tmp_path / "request.json"
    given_paths = {"model": str(tmp_path), "tokenizer": "", "source": "", "out": str(tmp_path)}
    told = {**vars(asked()), **given_paths, "tolerance": {"cosine": 0.9999}, "batched": "mine_encoder"}
    request.write_text(json.dumps(told))
    parity.main(request)
    proof = json.loads((tmp_path / "proof.json").read_text())
    assert [one["id"] for one in proof["rows"]] == [f"case {index}" for index in range(5)]
    assert all(one["error"] == 0 for one in proof["rows"])
    assert (proof["rank_correlation"], proof["reference"]) == (None, "the reference")
    assert proof["layouts"] == ["one after the other"]
    text = (tmp_path / "golden.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "format": 1, "kind": "single_pass", "model": "mine", "pipeline": "embedding",
        "tolerance": {"cosine": 0.9999}, "batched": "mine_encoder", "max_batch_size": 8,
        "asks": [{"id": "é"}], "refuses": [{"id": "refused"}],
    }  # fmt: skip
    assert "é" in text
    assert onnxruntime.__name__ in sys.modules
