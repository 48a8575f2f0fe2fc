"""What the rows of benchmarks/encoder_gpu.py say: its figures, their bars, and the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table
from workbench import numbers
from workbench.bars import Bar

from encoder.gpu_load import Sample

OURS, RAW = "builder", "onnxruntime"
AWAKE = "builder --low-latency"
"""Ours as a service that is asked now and then is run: one text at a time, the processors kept awake."""
TOKENS = (16, 128)
LEVELS = (1, 64)
HEAD = "minilm_fp32"
"""The case whose figures have short names: what `builder build minilm --gpu h200` makes."""

BARS = (
    Bar("e2e_p50_ms_16tok_b1", "<=", 1.5),
    Bar("served_over_raw_c64", "<=", 1.03, "raw was not tuned"),
)


@dataclass
class Row:
    """One way to run one case, for texts of so many tokens, so many at once; samples by repeat."""

    case: str
    way: str
    tokens: int
    level: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    gpu_mb: float | None = None
    samples: dict[int, Sample] = field(default_factory=dict)

    def middle(self, what: str) -> float | None:
        """Return the median of one field of its samples, None where it has none."""
        told = [value for one in self.samples.values() if (value := getattr(one, what)) is not None]
        return median(told) if told else None

    def rates(self) -> dict[int, float]:
        return {repeat: one.texts_per_second for repeat, one in self.samples.items()}

    def to_json(self) -> dict[str, Any]:
        what = ("texts_per_second", "p50_ms", "p99_ms", "mean_batch")
        return {
            "row": self.way,
            "case": self.case,
            "tokens": self.tokens,
            "concurrency": self.level,
            "settings": dict(self.settings),
            **{name: _rounded(self.middle(name)) for name in what},
            "gpu_mb": _rounded(self.gpu_mb),
            "samples": [
                {"repeat": repeat, **{name: _rounded(value) for name, value in asdict(one).items()}}
                for repeat, one in self.samples.items()
            ],
        }


def of(rows: Sequence[Row]) -> dict[str, float]:
    """Return the figures of every case, and those of HEAD under short names.

    `e2e` is the time of one text with `--low-latency`, `e2e_plain` without.
    """
    found: dict[str, float] = {}
    by_key = {(row.case, row.way, row.tokens, row.level): row for row in rows}
    for case in dict.fromkeys(row.case for row in rows):
        for tokens in TOKENS:
            for way, kind in ((AWAKE, ""), (OURS, "plain_")):
                alone = by_key[case, way, tokens, 1].middle("p50_ms")
                if alone is not None:
                    found[f"e2e_{kind}p50_ms_{tokens}tok_b1_{case}"] = alone
            mine, raw = (by_key[case, way, tokens, 64] for way in (OURS, RAW))
            ratio = numbers.paired_ratio(mine.rates(), raw.rates())
            found[f"served_over_raw_c64_{tokens}tok_{case}"] = ratio
    short = {
        "e2e_p50_ms_16tok_b1": f"e2e_p50_ms_16tok_b1_{HEAD}",
        "served_over_raw_c64": f"served_over_raw_c64_128tok_{HEAD}",
    }
    return {name: found[long] for name, long in short.items() if long in found} | found


def show(rows: Sequence[Row]) -> None:
    """Print the rows; a library at its best batch has the time of a whole batch for its p50."""
    table = Table(title="medians")
    for name in ("case", "tokens", "at once", "row"):
        table.add_column(name)
    for name in ("texts/s", "p50, ms", "p99, ms", "mean batch", "GPU, MB"):
        table.add_column(name, justify="right")
    for row in rows:
        figures = [row.middle(name) for name in ("texts_per_second", "p50_ms", "p99_ms", "mean_batch")]
        cells = ["" if value is None else f"{value:.3f}" for value in (*figures[1:], row.gpu_mb)]
        table.add_row(row.case, str(row.tokens), str(row.level), row.way, f"{figures[0] or 0:.0f}", *cells)
    Console(width=120).print(table)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
