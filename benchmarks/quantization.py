"""Quantising SmolLM2: what each variant loses, whether calibration helps, and whether damage is noticed.

    python benchmarks/quantization.py --work FOLDER [--only variants|languages|damage|memory]
    python benchmarks/quantization.py --work FOLDER --merge [--gpu-parts FOLDER]

The first takes about two hours on two cores, and goes on where it was. --merge makes one record of what lies
in the folder and of the parts of llm_gpu.py that race quantised models on a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from llm import keeping, quantized
from quality import damage, languages, memory, variants
from workbench import bars, children, record
from workbench.bars import Bar

from builder.calibration import texts

BARS = (
    Bar("variants_verified", ">=", 8),
    Bar("perplexities_apart", "<=", 0.01, "of the same weights, by the engine and by transformers"),
    Bar("kl_awq_over_rtn", "<=", 0.95, "both symmetric, 4 bits, groups of 64"),
    Bar("kl_gptq_over_rtn", "<=", 0.95, "both symmetric, 4 bits, groups of 64"),
    Bar("kl_german_over_shipped", ">=", 1.05, "calibrated with as many tokens, measured on held-out texts"),
    Bar("gate_refuses_damage", "==", 1, "share of the damaged builds that are noticed"),
    Bar("gate_refuses_intact", "==", 0),
    *(Bar(f"memory_gb_8b_{method}", "<=", 24) for method in memory.METHODS),
    Bar("fp8_over_bf16_8b_c1", ">=", 1.3),
    *(
        Bar(f"{kind}_verify_failed_{model}", "==", 0)
        for kind in ("fp8", "awq")
        for model in ("smollm2", "8b")
    ),
)
RTN = "onnx/int4_g64"
Rows = Sequence[Mapping[str, Any]]


def main() -> int:
    arguments = _arguments()
    children.end_like_a_person()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if not arguments.merge:
        for name in [arguments.only] if arguments.only else SECTIONS:
            _write(work / f"{name}.json", SECTIONS[name](work))
            print(f"{name} is in {work / name}.json")
        return 0
    found = {name: _read(work / f"{name}.json") for name in SECTIONS}
    parts = keeping.read(arguments.gpu_parts) if arguments.gpu_parts.is_dir() else []
    figures = {**figures_of(found), **quantized.figures(parts)}
    verdicts = {"held": bars.held(BARS, figures), "missed": bars.missed(BARS, figures)}
    rows = [{"section": name, **row} for name, section in found.items() for row in section]
    record.write("quantization", figures, rows, arguments, bars=verdicts)
    record.print_figures(figures)
    return bars.tell(BARS, figures)


def figures_of(found: Mapping[str, Rows]) -> dict[str, float]:
    """Return every figure that the sections have."""
    every, calibrated, damaged, held = (found[name] for name in SECTIONS)
    figures: dict[str, float] = {}
    if every:
        figures |= {
            "variants_verified": float(variants.verified(every)),
            "perplexities_apart": variants.apart(every),
        }
        for method in languages.METHODS:
            ours, nearest = (variants.divergence(every, one) for one in (f"onnx/{method}", RTN))
            if ours and nearest:
                figures[f"kl_{method}_over_rtn"] = ours / nearest
    ratios = [
        _of(calibrated, "german", method) / _of(calibrated, "shipped", method)
        for method in languages.METHODS
        if calibrated
    ]
    if ratios:
        figures["kl_german_over_shipped"] = min(ratios)
    noticed = [row["noticed"] for row in damaged if row["build"] != "intact"]
    if noticed:
        figures["gate_refuses_damage"] = sum(noticed) / len(noticed)
        figures["gate_refuses_intact"] = float(sum(row["noticed"] for row in damaged) - sum(noticed))
    return figures | {f"memory_gb_8b_{row['method']}": row["peak_gb"] for row in held}


def _of(rows: Rows, language: str, method: str) -> float:
    found = variants.divergence([row for row in rows if row["language"] == language], f"onnx/{method}")
    if found is None:
        raise SystemExit(f"{method} calibrated with the {language} texts was not measured: run it again")
    return found


def _damaged(work: Path) -> Rows:
    with tempfile.TemporaryDirectory(prefix="damage-", dir=work) as folder:
        return damage.rows(damage.source(work / "source"), Path(folder), texts.HELD_OUT, texts.READ)


def _languages(work: Path) -> Rows:
    return languages.rows(damage.source(work / "source"), work / "languages")


SECTIONS: dict[str, Callable[[Path], Rows]] = {
    "variants": lambda work: variants.every(work / "compare"),
    "languages": _languages,
    "damage": _damaged,
    "memory": lambda work: memory.rows(damage.source(work / "source"), work / "memory"),
}


def _write(path: Path, rows: Rows) -> None:
    path.write_text(json.dumps(list(rows), indent=1) + "\n", encoding="utf-8")


def _read(path: Path) -> Rows:
    rows: Rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return rows


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for what is built and found")
    parser.add_argument("--only", choices=tuple(SECTIONS), help="run one section")
    parser.add_argument("--merge", action="store_true", help="make one record of what was found")
    parser.add_argument(
        "--gpu-parts",
        type=Path,
        default=record.FOLDER / "llm_gpu_parts",
        help="partial records of llm_gpu.py; default: those that are committed",
    )
    parser.add_argument("--output", type=Path, help=record.WHERE.partition(",")[0])
    arguments = parser.parse_args()
    arguments.quick = False
    return arguments


if __name__ == "__main__":
    sys.exit(main())
