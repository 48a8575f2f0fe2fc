"""What a model of one pass may differ from its source, and how a proof says that it differs more."""

import hashlib
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import house, subjects
from builder.errors import ProofError
from builder.plan import Options, plan
from builder.proving import single_pass
from builder.proving.single_pass import Parity, judge
from builder.quantization import Tolerance

FP32 = Tolerance(cosine=0.9999, error=1e-3)
INT8 = Tolerance(cosine=0.99)


def evidence(**changes):
    values = {
        "golden": Path("golden.json"), "cases": 3, "cosine": 1.0, "error": 0.0, "drift": 0.0,
        "worst": "a text", "where": "3 together, with padding", "rank_correlation": None,
        "reference": "the source", "layouts": ("without padding", "with padding"),
    }  # fmt: skip
    return Parity(**{**values, **changes})


@pytest.fixture(scope="module")
def planned():
    return plan(subjects.read("bge-small", None, None)[0], Options())


@pytest.mark.parametrize(
    ("tolerance", "changes", "said"),
    [
        (FP32, {}, None),
        (FP32, {"cosine": 0.9999, "error": 1e-3}, None),
        (FP32, {"cosine": 0.99989}, ["cosine 0.9998900, at least 0.9999"]),
        (FP32, {"error": 0.00101}, ["error 1.01e-03, at most 0.001"]),
        (FP32, {"cosine": 0.5, "error": 2.0}, ["cosine 0.5000000, at least 0.9999; error 2.00e+00, at most"]),
        (FP32, {"cosine": math.nan}, ["cosine nan, at least 0.9999"]),
        (FP32, {"error": math.nan}, ["error nan, at most 0.001"]),
        (FP32, {"error": math.inf}, ["error inf, at most 0.001"]),
        (FP32, {"cases": 0}, ["no input was compared"]),
        (INT8, {"cosine": 0.99, "error": 17.0}, None),
        (INT8, {"cosine": 0.9899, "error": 17.0}, ["cosine 0.9899000, at least 0.99"]),
        (
            INT8,
            {"cosine": math.nan, "error": math.nan},
            ["cosine nan, at least 0.99; error nan, at most inf"],
        ),
        # how far it is from its own answer alone is told, not judged: that is in the error already
        (FP32, {"drift": 9.0, "rank_correlation": -1.0}, None),
    ],
)
def test_judgement(planned, tolerance, changes, said):
    if said is None:
        judge(evidence(**changes), tolerance, planned)
        return
    with pytest.raises(ProofError) as caught:
        judge(evidence(**changes), tolerance, planned)
    assert "bge-small as onnxruntime fp32 does not answer like its source" in caught.value.found
    assert "worst input: 'a text' (3 together, with padding)" in caught.value.found
    for words in said:
        assert words in caught.value.found
    assert "nothing was published" in caught.value.remedy


def row(name, cosine=1.0, error=0.0, drift=0.0, where="here"):
    return {"id": name, "cosine": cosine, "error": error, "drift": drift, "where": where}


def summary(*rows, tolerance=FP32, rank_correlation=None):
    proof = {
        "rows": list(rows),
        "rank_correlation": rank_correlation,
        "reference": "r",
        "layouts": ["a", "b"],
    }
    return single_pass._summarise(proof, Path("golden.json"), tolerance)


def test_summary_figures():
    found = summary(
        row("one", 0.99995, 2e-4, 3e-5), row("two", 0.9998, 1e-4, 7e-5, "there"), rank_correlation=0.9
    )
    assert (found.cases, found.cosine, found.error, found.drift) == (2, 0.9998, 2e-4, 7e-5)
    assert (found.worst, found.where) == ("two", "there")
    assert (found.rank_correlation, found.reference, found.layouts) == (0.9, "r", ("a", "b"))


@pytest.mark.parametrize(
    ("tolerance", "worst"),
    # by the error the second uses half the tolerance; by the cosine the first a fifth
    [(FP32, "off"), (INT8, "turned")],
)
def test_the_worst_input_is_the_one_that_uses_most_of_what_is_allowed(tolerance, worst):
    found = summary(row("turned", 0.99998, 0.0), row("off", 0.999999, 5e-4), tolerance=tolerance)
    assert found.worst == worst


BAD = [
    row("bad", math.nan, math.nan, math.nan),
    row("bad", 0.0, math.inf, math.inf),
    row("bad", 1.0, math.nan),
    row("bad", math.nan, 0.0),
]


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("tolerance", [FP32, INT8], ids=["fp32", "int8"])
def test_what_is_no_number_is_refused_wherever_it_stands(planned, tolerance, bad, place):
    rows = [row("good"), row("nearly", 0.99999, 1e-4)]
    rows.insert(place, bad)
    found = summary(*rows, tolerance=tolerance)
    assert found.worst == "bad"
    with pytest.raises(ProofError, match="worst input: 'bad'"):
        judge(found, tolerance, planned)


SHARES = st.floats(0, 2) | st.sampled_from([math.nan, math.inf])


@given(st.lists(st.tuples(st.floats(-1, 1) | st.just(math.nan), SHARES), min_size=1, max_size=6))
def test_a_proof_passes_exactly_when_every_input_does(planned, pairs):
    rows = [row(str(index), cosine, error) for index, (cosine, error) in enumerate(pairs)]
    passing = [one["id"] for one in rows if one["cosine"] >= FP32.cosine and one["error"] <= FP32.error]
    found = summary(*rows)
    if len(passing) == len(rows):
        judge(found, FP32, planned)
        return
    assert found.worst not in passing
    with pytest.raises(ProofError):
        judge(found, FP32, planned)


def test_a_proof_of_nothing_is_refused(planned):
    with pytest.raises(ProofError, match="no input was compared"):
        judge(summary(), FP32, planned)


def test_every_quantization_says_how_far_it_may_be():
    found = {
        name: house.plugin("quantizations", name, option="--quantize").QUANTIZATION.tolerance
        for name in house.plugin_names("quantizations")
    }
    assert (found["fp32"], found["int8"]) == (FP32, INT8)
    assert found["fp16"] == found["bf16"] == Tolerance(cosine=0.999)
    # the fewer bits, the further
    assert [found[name].cosine for name in ("fp32", "fp16", "int8")] == [0.9999, 0.999, 0.99]


def test_what_people_read():
    rows = dict(evidence(error=2e-5, drift=1e-6, worst="x" * 99, rank_correlation=0.98765).rows())
    assert rows["inputs"].startswith("3, each alone and in batches of many sizes, without padding and with")
    assert rows["largest error"] == "2.00e-05"
    assert "1.00e-06" in rows["beside others"]
    assert rows["furthest from the source"] == f"{'x' * 60} (3 together, with padding)"
    assert rows["likeness of texts"] == "rank correlation 0.98765"
    assert "likeness of texts" not in dict(evidence().rows())


def test_what_the_manifest_keeps(tmp_path):
    golden = tmp_path / "golden.json"
    golden.write_text("{}")
    plain = json.loads(json.dumps(evidence(golden=golden).to_json()))
    assert plain.pop("golden_sha256") == hashlib.sha256(b"{}").hexdigest()
    assert "golden" not in plain
    assert plain == {
        "cases": 3, "cosine": 1.0, "error": 0.0, "drift": 0.0, "worst": "a text",
        "where": "3 together, with padding", "rank_correlation": None, "reference": "the source",
        "layouts": ["without padding", "with padding"],
    }  # fmt: skip
