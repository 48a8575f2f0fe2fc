"""BentoML with its adaptive batching: https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html

`python -m bentoml serve` imports `Embedder` from here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import bentoml
import numpy as np

from encoder.peers import Settings, engines

_SETTINGS = "ENCODER_PEER_SETTINGS"
_TOLD = json.loads(os.environ.get(_SETTINGS, '{"max_batch_size": 64, "max_latency_ms": 1000, "workers": 1}'))


@bentoml.service(workers=_TOLD["workers"], traffic={"timeout": 300}, metrics={"enabled": False})
class Embedder:
    """POST /embed {"texts": ["..."]} answers [[...]]."""

    def __init__(self) -> None:
        self._embed = engines.engine(_TOLD)

    @bentoml.api(  # type: ignore[untyped-decorator]  # only its own environment has it
        batchable=True, max_batch_size=_TOLD["max_batch_size"], max_latency_ms=_TOLD["max_latency_ms"]
    )
    def embed(self, texts: list[str]) -> np.ndarray:
        return self._embed(texts)


def serve(settings: Settings, port: int) -> None:
    os.environ[_SETTINGS] = json.dumps(settings)
    command = [sys.executable, "-m", "bentoml", "serve", "encoder.peers.bentoml:Embedder"]
    subprocess.run([*command, "--host", "127.0.0.1", "--port", str(port), "--quiet"], check=True)
