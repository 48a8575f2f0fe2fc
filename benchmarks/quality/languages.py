"""Calibration in the language of the workload and in another, with as many tokens of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench import deployment

from builder.calibration import texts
from quality import variants

GERMAN = deployment.ROOT / "tests" / "calibration" / "german.txt"
METHODS = ("gptq", "awq")


def rows(source: Path, work: Path) -> list[dict[str, Any]]:
    """Return the rows of both, each with the language it was calibrated with.

    Args:
        source: the model's folder, for its tokenizer.
        work: a folder that may hold what an earlier call has found.
    """
    found = []
    for language, file in files(source, work).items():
        told = ("--quantize", ",".join(METHODS), "--target", "onnx", "--calibration", str(file), "--once")
        found += [{"language": language, **row} for row in variants.compare(work / language, *told)]
    return found


def files(source: Path, work: Path) -> dict[str, Path]:
    """Write both files of texts: the German one, and the first of the shipped with as many tokens."""
    from transformers import AutoTokenizer

    work.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(source)
    paragraphs = [line for line in GERMAN.read_text(encoding="utf-8").splitlines() if line.strip()]
    german = work / "german.jsonl"
    _write(german, [json.dumps({"prompt": text}, ensure_ascii=False) for text in paragraphs])
    room = sum(map(len, texts.sequences(texts.read(german), tokenizer)))
    few = []
    lines = texts.SHIPPED.read_text(encoding="utf-8").splitlines()
    for line, ids in zip(lines, texts.sequences(texts.read(), tokenizer), strict=True):
        if room > 0:
            few.append(line)
            room -= len(ids)
    return {"shipped": _write(work / "shipped.jsonl", few), "german": german}


def _write(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
