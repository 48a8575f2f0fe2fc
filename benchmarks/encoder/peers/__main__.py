"""Run one peer as a child: `python -m encoder.peers library|serve NAME SETTINGS [PORT]`.

library reads one JSON document a line, {"texts": [...], "alone": bool, "vectors": bool}, and answers
{"seconds": S, "latencies_ms": [...], "vectors": [[...], ...]}. serve serves. Both end when stdin closes,
with whatever they have started, so that no child outlives its parent.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from encoder.peers import Embed


def main(action: str, name: str, settings: dict[str, Any], port: str = "0") -> None:
    # native libraries and servers print on stdout what they like
    ours = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    peer = importlib.import_module(f"encoder.peers.{name}")
    if action == "serve":
        threading.Thread(target=_end_with_parent, daemon=True).start()
        peer.serve(settings, int(port))
        return
    embed = peer.library(settings)
    print(json.dumps({"ready": True}), file=ours)
    for line in sys.stdin:
        print(json.dumps(_answer(embed, json.loads(line))), file=ours)
    # some runtimes crash at a normal exit
    os._exit(0)


def _answer(embed: Embed, job: dict[str, Any]) -> dict[str, Any]:
    batches: list[Sequence[str]] = [[text] for text in job["texts"]] if job["alone"] else [job["texts"]]
    latencies, found = [], []
    started = time.perf_counter()
    for batch in batches:
        before = time.perf_counter()
        made = embed(batch)
        latencies.append(1000 * (time.perf_counter() - before))
        found += made.tolist() if job["vectors"] else []
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "latencies_ms": latencies, "vectors": found}


def _end_with_parent() -> None:
    # sys.stdin would be locked meanwhile, for whoever is forked too
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


# servers that spawn their workers import this file in each
if __name__ == "__main__":
    main(*sys.argv[1:3], json.loads(sys.argv[3]), *sys.argv[4:])
