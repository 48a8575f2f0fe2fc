"""TRN645 and TRN648: an engine of TensorRT-LLM against what the repository promises of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from builder import engine_file
from builder.inflight_batcher import engine_promise, engine_release, served_engine
from builder.layout import Layout, Model
from builder.rule import Fault, Host, rule

OTHER = "TRN648"


@rule("TRN645", "warning")
def more_than_the_engine_takes(model: Model, config: Any, repository: Layout, host: Host) -> Iterator[Fault]:
    """max_batch_size is no more than the engine's own: what is beyond waits inside, where no limit counts it.

    Bad:
        backend: "tensorrtllm"
        max_batch_size: 64
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }
        == m/1/config.json
        {"version": "1.2.1", "pretrained_config": {"mapping": {}}, "build_config": {"max_batch_size": 8}}
        == m/1/rank0.engine
        engine
    Good:
        backend: "tensorrtllm"
        max_batch_size: 8
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }
        == m/1/config.json
        {"version": "1.2.1", "pretrained_config": {"mapping": {}}, "build_config": {"max_batch_size": 8}}
        == m/1/rank0.engine
        engine
    """
    folder, told = served_engine.whole(model, config, repository)
    if folder is None or _is_another(model, folder, told, repository, host):
        return
    most = _number(told["build_config"].get("max_batch_size"))
    if most is not None and config.max_batch_size > most:
        yield Fault(
            ("max_batch_size",),
            f"{model.name} takes {config.max_batch_size} at once, its engine {most}",
            f"write max_batch_size: {most}, or build an engine that takes {config.max_batch_size}",
        )


@rule(OTHER)
def engine_not_as_planned(model: Model, config: Any, repository: Layout) -> Iterator[Fault]:
    """An engine is what its model was built for: as many ranks, as long a context, the same quantisation.

    TensorRT-LLM loads another one as well. Requests that the front lets through are refused then, answers are
    not those that were proven, and a server of another number of ranks does not start. By the manifest of the
    front and engine.json beside the engine; larger limits are fine, and what only takes longer is a warning.

    Bad:
        backend: "tensorrtllm"
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1/engine" } }
        == m/1/engine.json
        {"ranks": 2, "arguments": ["--max_seq_len", "512"]}
        == m/1/engine/config.json
        {"version": "1.2.1", "pretrained_config": {"mapping": {"world_size": 1}},
         "build_config": {"max_seq_len": 128}}
        == m/1/engine/rank0.engine
        engine
    Good:
        backend: "tensorrtllm"
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1/engine" } }
        == m/1/engine.json
        {"ranks": 1, "arguments": ["--max_seq_len", "512"]}
        == m/1/engine/config.json
        {"version": "1.2.1", "pretrained_config": {"mapping": {"world_size": 1}},
         "build_config": {"max_seq_len": 1024}}
        == m/1/engine/rank0.engine
        engine
    """
    folder, told = served_engine.whole(model, config, repository)
    if folder is None:
        return
    promise = engine_promise.of(model, folder, repository)
    problems = engine_promise.broken(promise, told)
    if problems:
        message = f"the engine is not the one that {model.name} was built for: {'; '.join(problems)}"
        yield served_engine.fault(model, folder / "config.json", message, _way_back(model, folder))
        return
    others = engine_promise.harmless(promise, told)
    if others:
        message = f"the engine is another than was planned, and serves the same: {'; '.join(others)}"
        yield Fault(
            (),
            message,
            "build the model again as this engine is, or leave it",
            file=served_engine.place(model, folder / "config.json"),
            severity="warning",
        )


def _is_another(model: Model, folder: Path, told: Mapping[str, Any], repository: Layout, host: Host) -> bool:
    """Say whether an error tells of the engine already: what it takes is then that of no matter which."""
    return bool(
        served_engine.unlike_its_ranks(model, folder, told)
        or engine_release.unlike(model, folder, told["version"], host)[0]
        or engine_promise.broken(engine_promise.of(model, folder, repository), told)
    )


def _way_back(model: Model, folder: Path) -> str:
    version = folder.parent
    source = str(engine_file.record(version).get("source") or "")
    if source and (version / source).is_dir() and (version / engine_file.SCRIPT).is_file():
        script = f"{model.name}/{version.name}/{engine_file.SCRIPT}"
        return f"run `sh {script}`, which makes the planned one, or build the model again as this engine is"
    return "copy the engine of this very build there, or build the model again as this engine is"


def _number(told: Any) -> int | None:
    return told if type(told) is int and 0 < told < 10_000 else None
