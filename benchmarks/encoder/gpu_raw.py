"""ONNX Runtime on the GPU without a server: `python -m encoder.gpu_raw SETTINGS`, lines of JSON in and out.

Workers, each a thread, take batch after batch: texts in, tokenizer, graph, vectors out. `graph` is "packed",
the artifact that we serve, or "padded", an ordinary export of the same weights.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench import children

from encoder import gpu_texts
from encoder.gpu_load import Sample, sample_of

Settings = dict[str, Any]

SETTINGS: tuple[Settings, ...] = tuple(
    {"graph": graph, "batch": batch, "workers": workers}
    for graph in ("packed", "padded")
    for batch in (16, 64, 128, 256)
    for workers in (1, 2, 4)
)
"""What is tried for the most texts per second."""

USUAL = tuple(one for one in SETTINGS if one["batch"] == 64 and one["workers"] == 2)
"""What a quick run tries of them."""

ALONE: tuple[Settings, ...] = tuple(
    {"graph": graph, "batch": 1, "workers": 1} for graph in ("packed", "padded")
)
"""What is tried for the shortest time of one text."""

_WARM_UP = 3


class Raw(children.Child):
    """The library in a process of its own."""

    def __init__(self, settings: dict[str, Any], log: Path) -> None:
        super().__init__("onnxruntime", [sys.executable, "-m", "encoder.gpu_raw", json.dumps(settings)], log)

    def sample(self, settings: Settings, tokens: int, seconds: float) -> Sample:
        """Embed texts of so many tokens for some seconds."""
        found = self.ask({**settings, "tokens": tokens, "seconds": seconds})
        return sample_of(found["texts"], found["seconds"], found["latencies_ms"])

    def vectors(self, graph: str, texts: Sequence[str]) -> list[list[float]]:
        found: list[list[float]] = self.ask({"graph": graph, "embed": list(texts)})["vectors"]
        return found


class Library:
    """Both graphs and the tokenizer, loaded."""

    def __init__(self, settings: dict[str, Any]) -> None:
        from tokenizers import Tokenizer

        from encoder.peers import onnxruntime as feeding

        tokenizer = Path(settings["tokenizer"])
        self._texts = {tokens: gpu_texts.of(tokenizer, tokens) for tokens in settings["tokens"]}
        self._feeds = {"packed": feeding.packed, "padded": feeding.padded}
        self._sessions = {name: session(settings[name], settings["device"]) for name in self._feeds}
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def embed(self, graph: str, texts: Sequence[str]) -> Any:
        """Return vectors [texts, width]."""
        ids = [one.ids for one in self._tokenizer.encode_batch_fast(list(texts))]
        return self._sessions[graph].run(None, self._feeds[graph](ids))[0]

    def measure(self, job: dict[str, Any]) -> dict[str, Any]:
        """Let the workers begin batches for the seconds of the job, and wait until all have ended."""
        texts, size = self._texts[job["tokens"]], job["batch"]
        batches = [texts[start : start + size] for start in range(0, len(texts) - size + 1, size)]
        lists: list[list[float]] = [[] for _ in range(job["workers"])]
        for _ in range(_WARM_UP):
            self.embed(job["graph"], batches[0])
        started = time.monotonic()
        end = started + job["seconds"]

        def work(latencies: list[float]) -> None:
            for batch in itertools.cycle(batches):
                before = time.monotonic()
                if before > end:
                    return
                self.embed(job["graph"], batch)
                latencies.append(1000 * (time.monotonic() - before))

        threads = [threading.Thread(target=work, args=(one,)) for one in lists]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - started
        latencies = [one for several in lists for one in several]
        return {"texts": size * len(latencies), "seconds": seconds, "latencies_ms": latencies}


def session(graph: str, device: str) -> Any:
    """Return an InferenceSession on `cuda` or `cpu`; raise RuntimeError where it runs elsewhere."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if device == "cpu":
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    # what little is left to the processor is too small for threads
    options.intra_op_num_threads = 1
    onnxruntime.preload_dlls(msvc=False)
    made = onnxruntime.InferenceSession(graph, options, providers=["CUDAExecutionProvider"])
    if "CUDAExecutionProvider" not in made.get_providers():
        raise RuntimeError("CUDAExecutionProvider did not start")
    return made


def main(settings: dict[str, Any]) -> None:
    # native libraries print on stdout what they like
    mine = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    library = Library(settings)
    print(json.dumps({"ready": True}), file=mine)
    for line in sys.stdin:
        job = json.loads(line)
        if "embed" in job:
            found: dict[str, Any] = {"vectors": library.embed(job["graph"], job["embed"]).tolist()}
        else:
            found = library.measure(job)
        print(json.dumps(found), file=mine)
    # some runtimes crash at a normal exit
    os._exit(0)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
