"""Plain ONNX Runtime with the tokenizer before it: static batches, as large and as many at a time as is best.

`graph` is "packed", the very artifact that we serve, or "padded", an ordinary export of the same model.
`workers` sessions of `threads` threads each take batch after batch; `sorted` puts texts of like length into
one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from encoder.peers import Embed, Settings, engines

Ids = list[int]


def library(settings: Settings) -> Embed:
    graph = settings[settings["graph"]]
    feed = {"packed": packed, "padded": padded}[settings["graph"]]
    tokenizer = Tokenizer.from_file(settings["tokenizer"])
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    sessions: SimpleQueue[Any] = SimpleQueue()
    for _ in range(settings["workers"]):
        sessions.put(engines.load(graph, settings))
    pool = ThreadPoolExecutor(settings["workers"])
    size = settings["batch"]

    def run(batch: Sequence[Ids]) -> Any:
        session = sessions.get()
        try:
            return session.run(None, feed(batch))[0]
        finally:
            sessions.put(session)

    def embed(texts: Sequence[str]) -> Any:
        ids = [one.ids for one in tokenizer.encode_batch(list(texts))]
        if len(ids) == 1:
            return run(ids)
        order = sorted(range(len(ids)), key=lambda place: -len(ids[place]))
        if not settings["sorted"]:
            order = list(range(len(ids)))
        batches = [
            [ids[place] for place in order[start : start + size]] for start in range(0, len(ids), size)
        ]
        made = np.concatenate(list(pool.map(run, batches)))
        found = np.empty_like(made)
        found[order] = made
        return found

    return embed


def packed(batch: Sequence[Ids]) -> dict[str, Any]:
    """Return the inputs of our graph: all ids one after the other, and (tokens, width) of each row."""
    lengths = np.array([len(ids) for ids in batch], dtype=np.int32)
    flat = np.concatenate([np.array(ids, dtype=np.int32) for ids in batch])
    places = np.zeros(int(lengths.max()), dtype=np.int32)
    return {"input_ids": flat, "extent": flat, "places": places, "rows": np.stack([lengths, lengths], axis=1)}


def padded(batch: Sequence[Ids]) -> dict[str, Any]:
    """Return the inputs of an ordinary export: [rows, longest] ids and their mask."""
    width = max(map(len, batch))
    ids = np.array([row + [0] * (width - len(row)) for row in batch], dtype=np.int64)
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in batch], dtype=np.int64)
    return {"input_ids": ids, "attention_mask": mask}
