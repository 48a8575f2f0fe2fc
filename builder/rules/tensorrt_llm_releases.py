"""TRN644: an engine of TensorRT-LLM against the libraries and the GPUs of the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.inflight_batcher import engine_release, served_engine
from builder.layout import Layout, Model
from builder.rule import Fault, Host, rule


@rule("TRN644")
def engine_of_another_version(model: Model, config: Any, repository: Layout, host: Host) -> Iterator[Fault]:
    """An engine is read by the TensorRT-LLM and the TensorRT that built it, on such a GPU, and by no other.

    Bad:
        backend: "tensorrtllm"
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }
        == m/1/config.json
        {"version": "0.9.0", "pretrained_config": {"mapping": {"world_size": 1}}, "build_config": {}}
        == m/1/rank0.engine
        engine
    Good:
        backend: "python"
    """
    folder, told = served_engine.whole(model, config, repository)
    if folder is None:
        return
    problem, remedy = engine_release.unlike(model, folder, told["version"], host)
    if problem:
        yield served_engine.fault(model, folder / "config.json", f"the engine is {problem}", remedy)
