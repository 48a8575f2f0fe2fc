"""The parts that look whether the answers are right: ids, scores, `builder verify`, and a soak."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from encoder import gpu_memory
from workbench import deployment, soaking
from workbench.deployment import Deployment
from workbench.soaking import Habits

from llm import answers, models, scoring
from llm.contests import Keep, serving
from llm.models import Built, Model
from llm.prompts import Encoding
from llm.raw import Raw
from llm.stage import MOST_AT_ONCE, Stage

ALONE, TOKENS = 64, 64
CHATS = Habits(
    chats=10_000, concurrency=32, cancel_share=0.2, tokens=64, seed=0, http_share=0.3, left_behind=800
)
SECONDS_TO_SETTLE = 20.0
LONG_ANSWER = 1000
"""Tokens of one answer, a second or more: engines look at their cache four times in it."""

CACHE_USED = "builder_engine_cache_used_ratio"


def right(stage: Stage, model: Model, keep: Keep) -> None:
    """Compare ids with the raw engine's, scores with transformers', and verify, all on one server."""
    built = models.built(stage, model)
    found: dict[str, Any] = {}
    with serving(stage, built) as served:
        prompts, together = _prompts(stage, built)
        with Raw(stage, built) as raw:
            found["ids"] = ids(served, model.name, raw, prompts, together)
        keep(found)
        device = "cpu" if stage.rehearses else "cuda"
        # what the raw engine held is free again: the float32 of 8B takes 32 GB
        found["scores"] = score(stage, served, built, prompts[: 4 if stage.rehearses else ALONE], device)
        keep(found)
        found["verify"] = verified(served, model.name)
        found["gpu_mb"] = gpu_memory.megabytes(served.pid)
        keep(found)


def ids(
    served: Deployment, name: str, raw: Raw, prompts: list[list[int]], together: list[list[int]]
) -> dict[str, Any]:
    """Return how the ids of both compare, of prompts alone and of others all at once.

    What lies in a prefix cache changes the last bits, too: both have seen the template before, and no more.
    """
    first, prompts = prompts[:1], prompts[1:]
    answers.greedy(served, name, first, TOKENS, 1)
    alone = answers.greedy(served, name, prompts, TOKENS, 1)
    ours_of_many = answers.greedy(served, name, together, TOKENS, len(together))

    def fresh(made: Callable[[], list[list[int]]]) -> list[list[int]]:
        raw.forget()
        raw.greedy(first, TOKENS, together=False)
        return made()

    raw_alone = fresh(lambda: raw.greedy(prompts, TOKENS, together=False))
    raw_of_many = fresh(lambda: raw.greedy(together, TOKENS, together=True))
    raw_as_they_come = fresh(lambda: raw.arriving(together, TOKENS))
    raw_one_by_one = fresh(lambda: raw.greedy(together, TOKENS, together=False))
    return {
        "tokens": TOKENS,
        "alone": answers.compared(alone, raw_alone),
        "together": answers.compared(ours_of_many, raw_one_by_one),
        "raw_together": answers.compared(raw_of_many, raw_one_by_one),
        # a server's requests come one after the other: with those the raw engine's answers differ likewise
        "raw_arriving": answers.compared(raw_as_they_come, raw_one_by_one),
    }


def score(
    stage: Stage, served: Deployment, built: Built, prompts: list[list[int]], device: str
) -> dict[str, Any]:
    """Return how far prompt_log_probs are from transformers', and its precisions from one another.

    Nothing where there is no checkpoint that transformers reads.
    """
    ours = answers.scores(served, built.model.name, prompts)
    sources = (built.artifact, models.checkpoint(stage, built.model))
    source = next((folder for folder in sources if any(folder.glob("*.safetensors"))), None)
    if source is None:
        return {}
    theirs = {one: scoring.of(source, prompts, one, device) for one in scoring.PRECISIONS}
    found: dict[str, Any] = {one: answers.differences(ours, theirs[one]) for one in theirs}
    return {**found, "transformers": answers.differences(theirs["bfloat16"], theirs["float32"])}


def verify(stage: Stage, model: Model, target: str, keep: Keep) -> None:
    """Build for a target where that is not done, and verify it."""
    built = models.build(stage, model, target)
    with deployment.serve(built.repository, more=["--timeout", "300"]) as served:
        # a part's own "target" says by what the run as a whole was made
        keep({"verify": verified(served, model.name), "built_for": target})


def verified(served: Deployment, name: str) -> dict[str, Any]:
    """Return the counts of `builder verify` against a running server, and what failed or was skipped."""
    addresses = ["--url", f"http://{served.http}", "--grpc-url", served.grpc, "--metrics-url", served.metrics]
    command = deployment.builder("verify", str(served.repository), *addresses, "--name", name, "--json")
    done = subprocess.run(command, cwd=deployment.ROOT, capture_output=True, text=True)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise SystemExit(f"`builder verify` failed:\n{done.stderr}{done.stdout[-2000:]}") from None
    rows = [
        {"name": row["name"], "state": row["state"], "detail": row["skipped"] or row["detail"]}
        for row in report["comparisons"]
        if row["state"] != "passed"
    ]
    return {"counts": report["counts"], "seconds": report["seconds"], "not_passed": rows}


def soak(stage: Stage, model: Model, keep: Keep) -> None:
    """Make thousands of visits, many of which end in the middle, by either door."""
    built = models.built(stage, model)
    habits = Habits(**{**vars(CHATS), "chats": 60}) if stage.rehearses else CHATS
    with serving(stage, built) as served:
        gpu_before = gpu_memory.megabytes(served.pid)
        before = deployment.metrics(served)
        started = time.monotonic()
        outcome = asyncio.run(soaking.soak(served, habits))
        seconds = time.monotonic() - started
        after = settled(served)
        held = held_by_one(stage, served, built)
        gpu_after = gpu_memory.megabytes(served.pid)
    figures = soaking.figures_of(outcome, seconds) | {
        "active_at_end": after[soaking.ACTIVE],
        "waiting_at_end": after[soaking.WAITING],
        "cancelled_uncounted": max(
            0.0, outcome.cancelled - after[soaking.CANCELLED] + before[soaking.CANCELLED]
        ),
        "cache_used_at_end": after.get(CACHE_USED, 0.0),
        "cache_used_by_one": held,
    }
    if gpu_before is not None and gpu_after is not None:
        figures["gpu_growth_mb"] = gpu_after - gpu_before
    samples = [one.to_json() for one in outcome.samples]
    keep({"soak": figures, "habits": vars(habits), "errors": dict(outcome.errors), "samples": samples})


def held_by_one(stage: Stage, served: Deployment, built: Built) -> float:
    """Return the largest share of the KV cache that is in use while one request runs alone.

    An idle engine says 0 whatever it holds; beside one that runs, blocks that nobody freed would show.
    """
    (prompt,) = Encoding(built.tokenizer).marked(1, "soak", "alone")
    tokens = 32 if stage.rehearses else LONG_ANSWER
    seen = [0.0]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(answers.greedy, served, built.model.name, [prompt], tokens, 1)
        while not answer.done():
            seen.append(deployment.metrics(served, built.model.name).get(CACHE_USED, 0.0))
            time.sleep(0.05)
        answer.result()
    return max(seen)


def settled(served: Deployment) -> dict[str, float]:
    """Return the engine's counters once it is idle and holds no cache, or as they are when it stays busy."""
    deadline = time.monotonic() + SECONDS_TO_SETTLE
    while True:
        found = deployment.metrics(served)
        held: Mapping[str, float] = {CACHE_USED: 0.0, **found}
        idle = not any(held[name] for name in (soaking.ACTIVE, soaking.WAITING, CACHE_USED))
        if idle or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def _prompts(stage: Stage, built: Built) -> tuple[list[list[int]], list[list[int]]]:
    encoding = Encoding(built.tokenizer)
    alone, together = (4, 8) if stage.rehearses else (ALONE, MOST_AT_ONCE)
    return encoding.marked(alone + 1, "ids", "alone"), encoding.marked(together, "ids", "together")
