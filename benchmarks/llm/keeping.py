"""Partial records: what one part has found, written whenever it has found more."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoder import gpu_memory
from workbench import record

from llm.contests import Keep
from llm.parts import Part
from llm.stage import Stage

SCHEMA = "builder.llm_gpu.part/1"
PACKAGES = (
    *("numpy", "torch", "transformers", "tokenizers", "nvidia-pytriton", "tritonclient", "vllm"),
    *("onnxruntime", "onnxruntime-genai", "onnxruntime-genai-cuda", "flashinfer-python", "xgrammar"),
)


def path(stage: Stage, part: str) -> Path:
    """Return where a part's record is."""
    return stage.records / f"{part}.json"


def run(part: Part, stage: Stage) -> None:
    """Run a part; its record says whether it came to its end."""
    started = time.monotonic()
    found: dict[str, Any] = {}

    def written(*, complete: bool) -> None:
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "part": part.name,
            "complete": complete,
            "seconds": round(time.monotonic() - started, 1),
            "target": stage.target,
            "machine": {**record.machine(), "gpu": gpu_memory.name()},
            "versions": record.versions(PACKAGES),
            "command": shlex.join(["python", "benchmarks/llm_gpu.py", *sys.argv[1:]]),
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        if hidden := document.keys() & found.keys():
            raise ValueError(f"Bug: part {part.name} found {', '.join(hidden)}, which records say anyway")
        document |= found
        partial = path(stage, part.name).with_suffix(".partial")
        partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        partial.replace(path(stage, part.name))

    def keep(more: Mapping[str, Any]) -> None:
        found.update(more)
        written(complete=False)

    keeping: Keep = keep
    part.run(stage, keeping)
    written(complete=True)


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the partial records of a folder; raise SystemExit for a file that is none."""
    found = []
    for file in sorted(folder.glob("*.json")):
        document = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise SystemExit(f"{file} is no partial record: expected a file that --part wrote")
        found.append(document)
    if not found:
        raise SystemExit(f"{folder} holds no partial records: run parts first (--parts lists them)")
    targets = sorted({document["target"] for document in found})
    if len(targets) > 1:
        raise SystemExit(
            f"{folder} holds records of {' and '.join(targets)}: a rehearsal is no part of a run"
        )
    return found
