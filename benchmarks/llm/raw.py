"""An engine without a server: `python -m llm.raw LIBRARY SETTINGS`, lines of JSON in and out.

The library is a file of libraries/: vllm, and for rehearsals the engine that the repository names.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench import children

from builder.measuring import told
from llm import looping
from llm.asking import Failed, sample_of
from llm.libraries import Library
from llm.models import Built
from llm.prompts import Encoding
from llm.stage import Stage
from llm.trials import BATCH, Trial

SECONDS_TO_END = 60.0
AT_A_STEP = 4
"""Requests that come between two steps of those that come one after the other."""
FIRST_TOKENS = 8
"""How often one prompt alone is asked for one token."""


class Raw(children.Child):
    """The library in a process of its own, as a contender."""

    def __init__(self, stage: Stage, built: Built) -> None:
        library = "vllm" if stage.target == "vllm" else "repository"
        settings = {"folder": str(built.folder), "arguments": built.peers_arguments}
        command = [sys.executable, "-m", "llm.raw", library, json.dumps(settings)]
        log = stage.log(f"raw-{built.model.name}")
        super().__init__("raw", command, log, session=True, seconds_to_end=SECONDS_TO_END)
        self._encoding = Encoding(built.tokenizer)

    def warm(self, trial: Trial, repeat: int) -> None:
        """Ask for what is reported nowhere."""
        prompts = self._prompts(trial, f"warm-up {repeat}", trial.level)
        self.ask({"do": "generate", "prompts": [prompts], "tokens": trial.tokens})

    def sample(self, trial: Trial, repeat: int) -> dict[str, Any]:
        """Run a trial: LLM.generate for a batch, else the engine's own loop."""
        if trial.shape == BATCH:
            return self._batch(trial, self._prompts(trial, f"batch {repeat}", trial.requests))
        prompts = self._prompts(trial, f"run {repeat}", trial.requests + 2 * trial.level)
        job = {"do": "loop", "prompts": prompts, "tokens": trial.tokens, "level": trial.level}
        return sample_of(told.from_json(self.ask({**job, "requests": trial.requests})), trial)

    def greedy(self, prompts: Sequence[Sequence[int]], tokens: int, *, together: bool) -> list[list[int]]:
        """Return the ids that it makes of prompts, one at a time or all in one batch."""
        asked = [list(ids) for ids in prompts]
        batches = [asked] if together else [[ids] for ids in asked]
        found: list[list[int]] = self.ask({"do": "generate", "prompts": batches, "tokens": tokens})["ids"]
        return found

    def arriving(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
        """Return the ids that it makes of prompts that come one after the other, as a server's do."""
        job = {"do": "arriving", "prompts": [list(ids) for ids in prompts], "tokens": tokens}
        found: list[list[int]] = self.ask({**job, "at_a_step": AT_A_STEP})["ids"]
        return found

    def forget(self) -> None:
        """Empty its prefix cache."""
        self.ask({"do": "forget"})

    def _batch(self, trial: Trial, prompts: list[list[int]]) -> dict[str, Any]:
        batches = [prompts] if trial.level > 1 else [[ids] for ids in prompts]
        found = self.ask({"do": "generate", "prompts": batches, "tokens": trial.tokens})
        made = sum(map(len, found["ids"]))
        if made != trial.requests * trial.tokens:
            raise Failed(f"{trial.name}: the raw engine made {made} tokens in all")
        seconds = sum(found["seconds"])
        sample = {"tokens_per_second": made / seconds, "seconds": seconds}
        if trial.level == 1:
            alone = [[ids] for ids in self._prompts(trial, f"first {seconds}", FIRST_TOKENS)]
            firsts = sorted(self.ask({"do": "generate", "prompts": alone, "tokens": 1})["seconds"])
            sample["ttft_ms"] = {"p50": round(1000 * firsts[(len(firsts) - 1) // 2], 3)}
        return sample

    def _prompts(self, trial: Trial, run: str, count: int) -> list[list[int]]:
        return self._encoding.marked(count, "raw", f"{trial.name} {run}")


def answer(library: Library, job: dict[str, Any]) -> dict[str, Any]:
    """Do as told."""
    if job["do"] == "loop":
        heard = looping.run(library, job["prompts"], job["tokens"], job["level"], job["requests"])
        return heard.to_json()
    if job["do"] == "arriving":
        return {"ids": looping.arriving(library, job["prompts"], job["tokens"], job["at_a_step"])}
    if job["do"] == "forget":
        library.forget()
        return {}
    ids: list[list[int]] = []
    seconds = []
    for batch in job["prompts"]:
        before = time.perf_counter()
        ids += library.generate(batch, job["tokens"])
        seconds.append(time.perf_counter() - before)
    return {"ids": ids, "seconds": seconds}


def main(name: str, settings: dict[str, Any]) -> None:
    # native libraries print on stdout what they like, and so do their processes
    mine = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    module = importlib.import_module(f"llm.libraries.{name}")
    library: Library = module.load(Path(settings["folder"]), settings["arguments"])
    print(json.dumps({"ready": True}), file=mine)
    for line in sys.stdin:
        print(json.dumps(answer(library, json.loads(line))), file=mine)
    library.close()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
