"""TRN641 to TRN643: the folder of an engine of TensorRT-LLM is there, and whole.

Source: TensorRT-LLM 1.2, triton_backend/inflight_batcher_llm, and the folder that `trtllm-build` writes:
config.json and one rank{n}.engine for each rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder import engine_file
from builder.inflight_batcher import engine_folder, served_engine
from builder.layout import Layout, Model
from builder.rule import Fault, rule

MISSING = "TRN641"


@rule(MISSING)
def engine_missing(model: Model, config: Any, repository: Layout) -> Iterator[Fault]:
    """The folder that gpt_model_path names holds an engine: config.json and its ranks.

    The server says only "[json.exception.parse_error.101]" and no name.

    Bad:
        backend: "tensorrtllm"
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1/engine" } }
        == m/1/.keep
    Good:
        backend: "tensorrtllm"
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }
        == m/1/config.json
        {"version": "1.2.1", "pretrained_config": {"mapping": {"world_size": 1}}, "build_config": {}}
        == m/1/rank0.engine
        engine
    """
    folder = served_engine.folder(model, config, repository)
    if folder is not None and not (folder / "config.json").is_file():
        what = engine_folder.without(folder, "config.json")
        yield Fault(
            served_engine.FIELD,
            f"{config.parameters[served_engine.PARAMETER].string_value} {what}",
            _way_to_it(model, folder),
        )


@rule("TRN642")
def engine_config_broken(model: Model, config: Any, repository: Layout) -> Iterator[Fault]:
    """An engine's config.json is the one that `trtllm-build` wrote beside it.

    Bad:
        backend: "tensorrtllm"
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }
        == m/1/config.json
        {"architecture": "LlamaForCausalLM"}
    Good:
        backend: "tensorrtllm"
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }
        == m/1/config.json
        {"version": "1.2.1", "pretrained_config": {"mapping": {"world_size": 1}}, "build_config": {}}
        == m/1/rank0.engine
        engine
    """
    folder = served_engine.folder(model, config, repository)
    if folder is None or not (folder / "config.json").is_file():
        return
    told, problem = served_engine.described(model, folder)
    problem = problem or engine_folder.misdescribed(told)
    if problem:
        yield served_engine.fault(
            model,
            folder / "config.json",
            f"config.json {problem}: it is not that of an engine",
            "copy the engine's whole folder; a checkpoint's folder must go through `trtllm-build` first",
        )


@rule("TRN643")
def engine_ranks(model: Model, config: Any, repository: Layout) -> Iterator[Fault]:
    """An engine has one file for each rank that it was built for, none of them empty, and no other.

    Bad:
        backend: "tensorrtllm"
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }
        == m/1/config.json
        {"version": "1.2.1", "build_config": {},
         "pretrained_config": {"mapping": {"world_size": 2, "tp_size": 2}}}
        == m/1/rank0.engine
        engine
    Good:
        backend: "tensorrtllm"
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }
        == m/1/config.json
        {"version": "1.2.1", "build_config": {},
         "pretrained_config": {"mapping": {"world_size": 2, "tp_size": 2}}}
        == m/1/rank0.engine
        engine
        == m/1/rank1.engine
        engine
    """
    folder, told = served_engine.whole(model, config, repository)
    if folder is None:
        return
    problem = served_engine.unlike_its_ranks(model, folder, told)
    if problem:
        yield served_engine.fault(model, folder, problem, "copy the engine's whole folder into an empty one")


def _way_to_it(model: Model, folder: Path) -> str:
    """Return how an engine that is not there gets there."""
    told = engine_file.record(folder.parent)
    if told and (folder.parent / engine_file.SCRIPT).is_file():
        script = f"{model.name}/{folder.parent.name}/{engine_file.SCRIPT}"
        return f"run `sh {script}` where Docker and a GPU of compute capability {told.get('compute')} are"
    return "name the folder that `trtllm-build` or `builder build` wrote, as the server sees it"
