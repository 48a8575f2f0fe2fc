"""Where a run works, on what, and for how long: what one call leaves in the folder the next one finds."""

from __future__ import annotations

import importlib.util
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

from workbench import children

MOST_AT_ONCE = 256
"""Requests: what every engine of a run is planned for."""

LONGEST = 1280
"""Tokens of a prompt and its answer: with more, two caches for 256 of them do not fit beside one another."""

SHARE_OF_GPU = 0.3
"""What must be free when an engine starts (vLLM's gpu_memory_utilization); its cache is given in bytes."""


@dataclass(frozen=True)
class Stage:
    """What all parts of a run are told.

    Args:
        work: the folder that calls share; it holds builds, caches, logs and partial records.
        target: as `builder build` knows it.
        gpu: likewise; None rehearses on the CPU, with whatever engine the target has there.
        deadline: the `time.monotonic()` moment at which a call should have ended.
        tokenizer: SmolLM2's files for random weights; None takes them from its repository.
    """

    work: Path
    target: str = "vllm"
    gpu: str | None = "h200"
    deadline: float = math.inf
    tokenizer: Path | None = None

    @property
    def rehearses(self) -> bool:
        return self.gpu is None

    @property
    def records(self) -> Path:
        return self.work / "records"

    def log(self, name: str) -> Path:
        """Return where a process writes its words."""
        folder = self.work / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"

    def left(self) -> float:
        """Return the seconds until the deadline."""
        return self.deadline - time.monotonic()

    def prepare(self) -> None:
        """Make the folder and tell every process to come where caches are; nobody asks a network."""
        self.records.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("BUILDER_CACHE", str(self.work / "cache"))
        os.environ["VLLM_CACHE_ROOT"] = str(self.work / "vllm")
        os.environ |= {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        children.let_tokenizers_use_threads()

    def require_engine(self) -> None:
        """Raise SystemExit where vLLM is wanted and not installed."""
        if self.target == "vllm" and importlib.util.find_spec("vllm") is None:
            raise SystemExit(
                "vllm is not installed in this interpreter: this part needs vLLM 0.22 and a GPU; "
                "--rehearse runs what it can on the CPU, with --target onnx"
            )
