"""Rows of a comparison with figures that are made up, and easy to work with by hand."""

from __future__ import annotations

from typing import Any

from builder.comparing.row import Comparison, Row
from builder.kept import Count, StandIn

MACHINE = {"cpu": "a processor", "cores": 2}


def run(concurrency: int, rate: float, first: float, memory: float) -> dict[str, Any]:
    return {
        "load": {"kind": "closed", "concurrency": concurrency},
        "tokens_per_second": rate,
        "ttft_ms": {"p50": first},
        "memory": {"cpu_mb": {"pss": memory}, "gpu_mb": {}},
    }


def loss(ratio: float, divergence: float) -> dict[str, Any]:
    return {
        "texts": "shipped",
        "sequences": 64,
        "tokens": 21_440,
        "source_perplexity": 20.0,
        "perplexity": 20.0 * ratio,
        "ratio": ratio,
        "divergence": divergence,
        "divergence_p99": 10 * divergence,
        "agreement": 0.9,
    }


def served(variant: str, size: int, divergence: float, rate: float, **more: Any) -> Row:
    target, _, quantize = variant.partition("/")
    told: dict[str, Any] = {
        "key": f"key of {variant}",
        "repository": variant.replace("/", "-"),
        "size": size,
        "counts": (Count("F32", 61, 0, 140_544), Count(quantize.upper(), 211, 211, size - 140_544)),
        "loss": loss(1 + divergence, divergence),
        "limits": {"perplexity": 1.25, "divergence": 0.3, "agreement": 0.8},
        "twice": {"tokens": 2680, "engine": 20.0, "transformers": 20.02, "apart": 0.001, "agree": True},
        "verified": {"passed": 101, "failed": 0, "skipped": 1},
        "runs": (run(1, rate, 50.0, size / 1e6 + 400), run(8, 3 * rate, 90.0, size / 1e6 + 500)),
    }
    return Row(variant, target, quantize, **{**told, **more})


PLAIN = served("onnx/fp32", 540_000_000, 0.0, 40.0)
EIGHT = served("llamacpp/q8_0", 143_000_000, 0.002, 80.0)
MIXED = served(
    "llamacpp/q4_k_m",
    103_000_000,
    0.06,
    70.0,
    counts=(Count("Q5_0", 166, 166, 53_678_592), Count("Q4_K", 16, 16, 7_962_624)),
    stand_ins=(StandIn("Q5_0", "Q4_K", 166, "rows of 576 are no whole blocks of 256"),),
)
WORSE = served("onnx/int8", 150_000_000, 0.004, 60.0)
MISSED = Row(
    "onnx/int4",
    "onnx",
    "int4",
    "key of int4",
    failure="smollm2 as onnx int4 does not answer like its source: <too far>\nsecond line",
    size=88_000_000,
    loss=loss(1.3, 0.25),
)
REFUSED = Row("onnx/awq", "onnx", "awq", "", failure="target onnx does not serve it")


def comparison(*rows: Row) -> Comparison:
    return Comparison(
        "smollm2",
        "package:a/b.gguf",
        "builder compare smollm2",
        "2026-01-02T03:04:05Z",
        MACHINE,
        {"concurrency": [1, 8], "output_tokens": 64, "texts_read_twice": 8},
        rows,
    )


EVERY = comparison(PLAIN, WORSE, EIGHT, MIXED, MISSED, REFUSED)
