"""A repository of NVIDIA's inflight_batcher_llm templates, filled or not: engines of TensorRT-LLM.

Source: triton_backend/all_models/inflight_batcher_llm of TensorRT-LLM up to 1.2; before, tensorrtllm_backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.errors import BuilderError, SourceError
from builder.inflight_batcher import differences, engine_folder, naming, placeholders, templates
from builder.inflight_batcher.engine_folder import EngineFolder
from builder.inflight_batcher.imported import ENGINE, MODELS, TOKENIZING, Answers, Imported
from builder.inflight_batcher.templates import Template
from builder.planning import versions
from builder.planning.resolving import Machine, Needs, Resolution, resolve

TITLE = "NVIDIA's inflight_batcher_llm templates"


def recognises(folder: Path) -> bool:
    """Say whether a folder has the engine's model and at least one more of NVIDIA's."""
    there = [name for name in MODELS if (folder / name / "config.pbtxt").is_file()]
    return ENGINE in there and len(there) > 1


def read(folder: Path, answers: Answers) -> Imported:
    """Read, fill and check a repository; what is wrong with it is told in the result.

    Raises:
        SourceError: the folder is no such repository, or a config that has nothing left to fill is broken.
        UsageError: a value was given for a placeholder that is nowhere, or that another option tells.
    """
    if not recognises(folder):
        raise SourceError(
            f"{folder} is no repository of {TITLE}",
            expected=f"{ENGINE}/config.pbtxt, and {', '.join(MODELS[1:])} or some of them",
            remedy="name the folder that was made of all_models/inflight_batcher_llm",
        )
    found = {name: placeholders.template(folder, name) for name in _names(folder)}
    placeholders.require_known(answers.values, found)
    placeholders.require_once(answers)
    problems: list[BuilderError] = []
    engine = _engine(found, answers, problems)
    values = placeholders.values(found, answers, engine)
    # what an engine would tell is not asked for: it is the engine that is lacking
    asked = set(values) | (set() if engine else set(placeholders.OF_ENGINE))
    lacking = {name: [one for one in told.bare if one not in asked] for name, told in found.items()}
    problems += [placeholders.unfilled(name, bare) for name, bare in lacking.items() if bare]
    plain = {name: value for name, (value, _) in values.items()}
    models = {name: placeholders.model(folder, name, told, plain) for name, told in found.items()}
    models = {name: model for name, model in models.items() if model is not None}
    container = _container(engine, answers, problems)
    version = engine.version if engine else (container.container.tensorrtllm if container else "")
    version = differences.version_of(models, version)
    problems += naming.problems(folder, models, engine.version) if engine else ()
    return Imported(
        path=folder,
        names=tuple(found),
        models=models,
        values=values,
        unset=tuple(sorted({one for told in found.values() for one in told.quoted if one not in values})),
        version=version,
        engine=engine,
        tokenizer=_tokenizer(models, answers, problems),
        container=container,
        card=answers.card,
        differences=tuple(differences.of(models, version)),
        changes=naming.adapted(models, engine.version).changes if engine else (),
        problems=tuple(problems),
    )


def _names(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/config.pbtxt"))


def _engine(
    found: Mapping[str, Template], answers: Answers, problems: list[BuilderError]
) -> EngineFolder | None:
    told = placeholders.parameter(found, answers, ENGINE, "gpt_model_path")
    folder = answers.engine or (Path(told) if told else None)
    if folder is None:
        problems.append(
            SourceError(
                f"{ENGINE}/config.pbtxt names no engine: gpt_model_path is empty, or ${{engine_dir}}",
                expected="the folder that `trtllm-build` wrote",
                remedy="name it with --engine FOLDER",
            )
        )
        return None
    try:
        return engine_folder.read(folder)
    except SourceError as error:
        problems.append(error)
    except OSError as error:
        problems.append(
            SourceError(f"{folder} cannot be read: {error}", remedy="name it with --engine FOLDER")
        )
    return None


def _container(
    engine: EngineFolder | None, answers: Answers, problems: list[BuilderError]
) -> Resolution | None:
    """Return the container that reads the engine: of the same minor version of TensorRT-LLM."""
    if engine is None:
        return None
    release = (*versions.number(engine.version), 0, 0)[:2]
    needs = Needs(
        sort=versions.TENSORRT_LLM,
        library="tensorrtllm",
        least=release,
        below=(release[0], release[1] + 1),
        compute="8.0",
        instead="--to llmapi",
    )
    try:
        machine = Machine(answers.card, answers.driver)
        found = resolve(needs, machine, answers.triton, f"the engine of {engine.version}")
        engine_folder.require_fits(engine, found.container, answers.card)
    except BuilderError as error:
        problems.append(error)
        return None
    return found


def _tokenizer(models: Mapping[str, Any], answers: Answers, problems: list[BuilderError]) -> Path | None:
    told = models[TOKENIZING].parameters if TOKENIZING in models else {}
    named = told["tokenizer_dir"].string_value if "tokenizer_dir" in told else ""
    folder = answers.tokenizer or (None if templates.is_unset(named) else Path(named))
    if TOKENIZING not in models or (folder is not None and folder.is_dir() and any(folder.iterdir())):
        return folder
    what = f"{folder} is no folder here, or an empty one" if folder else "tokenizer_dir is not set"
    problems.append(
        SourceError(
            f"{TOKENIZING}/config.pbtxt: {what}",
            expected="the folder with the checkpoint's tokenizer",
            remedy="name it with --tokenizer FOLDER",
        )
    )
    return None
