"""Evidence decides what may be published."""

import dataclasses
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from tiny import hidden

from builder import subjects
from builder.calibration import texts
from builder.errors import ProofError
from builder.plan import Options, plan
from builder.proving import generation, reference
from builder.proving.asking import Found
from builder.proving.generation import Divergence, judge
from builder.proving.loss import Loss, Text
from builder.quantization import Budget, Limits

LIMITS = Limits(perplexity=1.1, divergence=0.05, agreement=0.9)


def read(**changes):
    values = {
        "texts": "shipped", "sha256": "", "sequences": 64, "tokens": 30000, "source_perplexity": 10.0,
        "perplexity": 10.5, "divergence": 0.02, "divergence_p99": 0.1, "agreement": 0.95,
        "worst": (Text(7, "Once", 0.3), Text(3, "A", 0.2)),
    }  # fmt: skip
    return Loss(**{**values, **changes})


def evidence(**changes):
    values = {
        "golden": Path("golden.json"), "prompts": 2, "tokens": 100, "agreed": 90, "ties": 5, "together": 40.0,
        "divergence": 0.1, "divergence_p99": 0.5, "worst": ("poem", "sql"), "reference": "the source",
        "loss": read(),
    }  # fmt: skip
    return Divergence(**{**values, **changes})


@pytest.fixture
def planned(workshop):
    return plan(subjects.read("tiny", str(workshop.checkpoint), None)[0], Options())


def test_ties_are_agreement():
    assert evidence().agreement == pytest.approx(0.95)
    assert evidence(tokens=0, agreed=0, ties=0).agreement == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"divergence": 0.2}, None),
        ({"divergence": 0.2001}, ["mean divergence 0.2001 nats, at most 0.2"]),
        ({"divergence": math.nan}, ["mean divergence nan nats, at most 0.2"]),
        ({"divergence": math.inf}, ["mean divergence inf nats"]),
        ({"agreed": 85}, None),
        ({"agreed": 84}, ["agreement 89.0%, at least 90.0%"]),
        ({"agreed": 10, "divergence": 3.0}, ["mean divergence 3.0000", "agreement 15.0%"]),
        ({"loss": read(perplexity=11.0, divergence=0.05, agreement=0.9)}, None),
        (
            {"loss": read(perplexity=11.01)},
            ["on held-out texts perplexity 1.1010 times the source's, at most 1.1"],
        ),
        ({"loss": read(perplexity=math.inf)}, ["perplexity inf times"]),
        ({"loss": read(divergence=math.nan)}, ["on held-out texts mean divergence nan nats, at most 0.05"]),
        ({"loss": read(agreement=0.899)}, ["on held-out texts the same first choice 89.9%, at least 90.0%"]),
        (
            {"tokens": 0, "agreed": 0, "ties": 0, "together": 2.0, "divergence": 0.0},
            ["no golden prompt was answered with a single token"],
        ),
    ],
)
def test_judgement(planned, changes, said):
    planned = dataclasses.replace(planned, limits=LIMITS)
    budget = Budget(divergence=0.2, agreement=0.9, held_out=LIMITS)
    if said is None:
        judge(evidence(**changes), budget, planned)
        return
    with pytest.raises(ProofError) as caught:
        judge(evidence(**changes), budget, planned)
    assert "tiny as onnx int4 does not answer like its source" in caught.value.found
    assert "worst prompts: poem, sql" in caught.value.found
    for words in said:
        assert words in caught.value.found
    assert "nothing was published" in caught.value.remedy


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Options(target="vllm"), "choose another --target: no weights were quantised"),
        (Options(target="vllm", cache_type="fp8"), "choose another --kv-cache"),
        (Options(target="vllm", settings=("engine.seed=3",)), "leave out --set engine.seed=3"),
        (
            Options(target="tensorrtllm", quantize="w4a8_awq", cache_type="fp8"),
            "choose a --quantize with more bits",
        ),
        (
            Options(target="tensorrtllm", quantize="fp8", settings=("engine.guided=false",)),
            "leave out --set engine.guided=false, or choose a --quantize with more bits",
        ),
    ],
)
def test_what_mends_it_is_what_the_proof_saw(asked, words):
    model = subjects.read("llama-8b", None, None)[0]
    found = plan(model, dataclasses.replace(asked, gpu="h100"))
    with pytest.raises(ProofError) as caught:
        judge(evidence(divergence=9.0), Budget(divergence=0.2, agreement=0.9, held_out=LIMITS), found)
    remedy = caught.value.remedy
    assert remedy.startswith(words)
    assert ("more bits" in remedy) == (asked.quantize is not None)
    assert ("--kv-cache" in remedy) == (asked.cache_type == "fp8" and asked.target == "vllm")


@pytest.mark.parametrize("worst", [math.nan, math.inf])
def test_a_source_that_overflows_is_told_from_its_artifact(planned, worst):
    source, artifact = np.array([[1.0, worst]]), np.array([[1.0, 2.0]])
    whole = {"id": "whole", **reference.compare(artifact, artifact, [1], epsilon=0.0)}
    with np.errstate(invalid="ignore"):
        broken = {"id": "poem", **reference.compare(source, artifact, [1], epsilon=0.0)}
        unlike = {"id": "sql", **reference.compare(artifact, source, [1], epsilon=0.0)}
    generation._require_finite([whole, unlike], planned)
    with pytest.raises(ProofError) as caught:
        generation._require_finite([whole, broken], planned)
    assert "the source itself, in float32, answers 1 of 2 golden prompts" in caught.value.found
    assert caught.value.found.endswith("such as poem")
    assert "more bits" not in caught.value.remedy


def test_a_build_is_proven_once(workshop):
    first = workshop.build()
    second = workshop.build()
    assert first.evidence == second.evidence
    assert (workshop.runs("golden"), workshop.runs("reference")) == (1, 1)
    assert first.evidence.prompts == 1
    assert first.evidence.tokens == first.evidence.agreed == 2


def test_a_proof_speaks_of_one_name(workshop):
    """The golden file names its model; another name asks for another one."""
    golden = [workshop.build(served_name=name).evidence.golden for name in ("one", "two")]
    assert [json.loads(file.read_text())["model"] for file in golden] == ["one", "two"]
    assert workshop.runs("convert") == 1


def test_the_evidence_travels_with_the_version(workshop):
    built = workshop.build()
    version = workshop.output / "tiny" / "1"
    manifest = json.loads((version / "manifest.json").read_text())
    golden = (version / "golden.json").read_bytes()
    assert manifest["evidence"]["golden_sha256"] == hashlib.sha256(golden).hexdigest()
    assert manifest["evidence"]["agreement"] == 1.0
    assert "golden" not in manifest["evidence"]
    assert golden == built.evidence.golden.read_bytes()


@pytest.mark.parametrize("what", ["golden", "reference"])
def test_an_artifact_that_does_not_run(workshop, what):
    workshop.set(FAKE_PROOF=f"{what} fails")
    with pytest.raises(ProofError, match=f"the {what} did not run") as caught:
        workshop.build()
    assert "read its whole log at" in caught.value.remedy
    assert not workshop.output.exists()
    assert not hidden(workshop.folder)
    workshop.set(FAKE_PROOF="ok")
    assert workshop.build().published.fresh
    assert workshop.runs("convert") == 1


def test_what_answers_unlike_its_source_is_not_published(workshop):
    workshop.set(FAKE_PROOF="far")
    with pytest.raises(ProofError, match=r"mean divergence 9\.0000 nats"):
        workshop.build()
    assert not workshop.output.exists()
    # a proof that failed is known, not measured again
    with pytest.raises(ProofError):
        workshop.build()
    assert workshop.runs("golden") == 1


def test_an_artifact_that_was_touched_is_proven_again(workshop):
    built = workshop.build()
    data = built.evidence.golden.parent.parent / "model" / "model.onnx.data"
    data.write_bytes(b"other")
    workshop.build()
    assert (workshop.runs("convert"), workshop.runs("golden")) == (2, 2)


def test_a_proof_without_logits_and_requests(workshop):
    home = workshop.build().evidence.golden.parent
    read = f"held-out-{texts.read(texts.HELD_OUT, '--evaluate').sha256[:16]}.json"
    assert sorted(path.name for path in home.iterdir()) == ["golden.json", read, "proof.json"]


def test_summary_figures(workshop, planned):
    rows = [
        {"id": "good", "tokens": 2, "agreed": 2, "ties": 0, "together": 2, "divergence": [0.0, 0.1]},
        {"id": "bad", "tokens": 1, "agreed": 0, "ties": 1, "together": 0, "divergence": [0.8]},
    ]
    artifact = dataclasses.make_dataclass("A", ["tools"])({"transformers": "9"})
    reference = generation._reference(planned, artifact)
    found = generation._summarise(Found(Path("golden.json"), rows, read()), reference)
    assert (found.prompts, found.tokens, found.agreed, found.ties) == (2, 3, 2, 1)
    assert found.divergence == pytest.approx(0.3)
    assert found.together == 1
    assert found.worst == ("bad", "good")
    assert found.reference == "transformers 9 float32"


def test_a_disk_that_fills_up_while_proving(workshop, disk):
    workshop.use_cache(disk("small"))
    workshop.set(FAKE_PROOF="fills the disk")
    with pytest.raises(ProofError, match="free space on that disk, or point BUILDER_CACHE"):
        workshop.build()
    assert not workshop.output.exists()
    assert not hidden(workshop.folder)
    workshop.set(FAKE_PROOF="ok")
    assert workshop.build().published.fresh
    assert workshop.runs("convert") == 1
