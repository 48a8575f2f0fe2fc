"""Run one peer as a child: `python -m peers raw|serve NAME SETTINGS`, one JSON document a line.

raw reads {"prompts": [[id, ...], ...], "tokens": N, "batch": B} and answers
{"seconds": S, "tokens": T, "ttft_ms": F, "ids": [[id, ...], ...]}. serve answers {"url": ...,
"body": {...}} once. Both end when stdin closes, so that no child outlives its parent.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from peers import Generate


def main(action: str, name: str, settings: dict[str, Any]) -> None:
    say = _private_stdout()
    peer = importlib.import_module(f"peers.{name}")
    if action == "serve":
        url, body = peer.serve(settings)
        say({"url": url, "body": body})
        sys.stdin.read()
    else:
        generate = peer.raw(settings)
        say({"ready": True})
        for line in sys.stdin:
            say(_timed(generate, json.loads(line)))
    # the runtimes' threads would keep the process, and some of them crash at a normal exit
    os._exit(0)


def _timed(generate: Generate, job: dict[str, Any]) -> dict[str, Any]:
    """Generate for all prompts, `batch` at a time; the first id's delay is that of the first batch."""
    prompts, batch = job["prompts"], job["batch"]
    ids: list[list[int]] = []
    firsts = []
    tokens = 0
    started = time.perf_counter()
    for place in range(0, len(prompts), batch):
        before = time.perf_counter()
        generation = generate(prompts[place : place + batch], job["tokens"])
        firsts.append(generation.first - before)
        tokens += generation.tokens
        ids += generation.ids
    seconds = time.perf_counter() - started
    first = sorted(firsts)[len(firsts) // 2]
    return {"seconds": seconds, "tokens": tokens, "ttft_ms": 1000 * first, "ids": ids}


def _private_stdout() -> Callable[[dict[str, Any]], None]:
    """Keep stdout for our lines: native libraries print on it what they like."""
    ours = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(document: dict[str, Any]) -> None:
        ours.write(json.dumps(document) + "\n")
        ours.flush()

    return say


main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
