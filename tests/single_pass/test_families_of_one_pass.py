"""Every family that answers in one pass: exported, proven, written and checked, each of its pipelines."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("transformers")

import tiny_models
from one_pass_commands import DOORS, Shell, texts

from backends.pair_tokenizer import pairs
from backends.row_tokenizer.rows import Rows
from backends.text.limits import LimitedEncoder
from builder import child, pipeline
from builder.check import check
from builder.plan import Options

# torch warns of itself while it traces; a build does that in a process of its own
pytestmark = pytest.mark.filterwarnings("ignore")

TEXTS = [
    "Paris",
    "The train to Hamburg leaves from platform seven today.",
    "東京は日本 😀",
    "naïve Café e\u0301cole\u2028next\tline",
    "  two  spaces ",
    "",
]
ENCODERS = [
    pytest.param(
        family, kind, marks=[] if (family, kind) == ("distilbert", "embedding") else pytest.mark.slow
    )
    for family in tiny_models.TEXT_FAMILIES
    for kind in ("embedding", "classification", "token_classification", "reranking")
]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Have exporters and proofs run in this process, which has their libraries loaded; give a cache."""

    def run(command: Sequence[str], log: Path, error: type[Exception], **told: Any) -> None:
        _, dash_m, module, request = command
        assert dash_m == "-m"
        importlib.import_module(module).main(Path(request))

    monkeypatch.setattr(child, "run", run)
    monkeypatch.setenv("BUILDER_CACHE", str(tmp_path / "cache"))
    return tmp_path


def build(folder: Path, checkpoint: Path, quantize: str | None = None) -> tuple[pipeline.Built, Path]:
    """Build everything but what Triton is needed for; return what was built, and the version of its front."""
    built = pipeline.build(
        "tiny",
        folder / "repository",
        Options(concurrency=4, quantize=quantize),
        checkpoint=str(checkpoint),
        verifying=False,
    )
    assert not [one for one in check(folder / "repository") if one.severity != "warning"]
    return built, folder / "repository" / "tiny" / "1"


def settings(front: Path) -> tuple[Path, dict[str, Any]]:
    """Return the tokenizer that is served, and what the model before the graph is told."""
    version = front.parents[1] / "tiny_tokenizer" / "1"
    return version / "tokenizer", json.loads((version / "settings.json").read_text())


@pytest.mark.parametrize(("family", "kind"), ENCODERS)
def test_an_encoder(family: str, kind: str, here: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    checkpoint = tiny_models.write(here / "checkpoint", family, kind)
    built, front = build(here, checkpoint)
    assert (built.plan.pipeline, built.plan.model_type) == (kind, family)
    assert built.evidence.cosine > 0.99999
    assert built.evidence.error < 1e-4
    theirs = PreTrainedTokenizerFast.from_pretrained(checkpoint)
    folder, told = settings(front)
    if kind == "reranking":
        encoder = LimitedEncoder(folder, told)
        (ours,) = pairs.answer(encoder, [(texts("Where?"), texts(*TEXTS).T)])
        assert not isinstance(ours, ValueError)
        wanted = theirs(["Where?"] * len(TEXTS), TEXTS)
        assert ours.input_ids.ravel().tolist()[: ours.rows[:, 0].sum()] == [
            one for ids in wanted.input_ids for one in ids
        ]
        # where the checkpoint names no types, all tokens are of the first
        types = wanted.get("token_type_ids") or [[0] * len(ids) for ids in wanted.input_ids]
        assert ours.rows[:, 2].tolist() == [[*one, 1].index(1) for one in types]
        return
    (found,) = Rows(folder, told).answer([(texts(*TEXTS), ("input_ids", "rows"))])
    assert not isinstance(found, ValueError)
    flat, begins = found["input_ids"].ravel(), np.cumsum([0, *found["rows"][:, 1]])
    for text, begin, tokens in zip(TEXTS, begins, found["rows"][:, 0], strict=False):
        assert flat[begin : begin + tokens].tolist() == theirs(text).input_ids


@pytest.mark.slow
@pytest.mark.parametrize("family", tiny_models.IMAGE_FAMILIES)
def test_an_image_classifier(family: str, here: Path) -> None:
    built, front = build(here, tiny_models.write(here / "checkpoint", family, "image_classification"))
    assert (built.plan.pipeline, built.plan.model_type) == ("image_classification", family)
    assert built.evidence.cosine > 0.99999
    assert built.evidence.error < 1e-4
    labels = (front.parent / "labels.txt").read_text()
    assert labels.splitlines() == tiny_models.LABELS["image_classification"]


@pytest.mark.slow
@pytest.mark.parametrize("family", [*tiny_models.TEXT_FAMILIES, "vit"])
def test_in_integers(family: str, here: Path) -> None:
    kind = "image_classification" if family == "vit" else "embedding"
    built, _ = build(here, tiny_models.write(here / "checkpoint", family, kind), "int8")
    assert 0.99 < built.evidence.cosine < 0.9999999


@pytest.mark.slow
@pytest.mark.triton
def test_a_program_of_torch(shell: Shell, tmp_path: Path) -> None:
    import torch

    path, network = tiny_models.program(tmp_path / "network.pt2")
    command = ["mine", "--checkpoint", path, "--output", tmp_path / "repository"]
    refused = shell.run("build", *command)
    assert (refused.returncode, "--trust-pickle" in refused.stderr) == (1, True)
    shell.build(*command, "--trust-pickle")
    left, right = np.random.default_rng(1).normal(size=(2, 5, 4)).astype(np.float32)
    with torch.no_grad():
        expected = [one.numpy() for one in network(torch.tensor(left), torch.tensor(right))]
    with shell.serving(tmp_path / "repository") as server:
        for door in DOORS:
            found = server.ask(door, "mine", left=left, right=right)
            for number, one in enumerate(expected):
                np.testing.assert_allclose(found[f"output_{number}"], one, atol=1e-6)
