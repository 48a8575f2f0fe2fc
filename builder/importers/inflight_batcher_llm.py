"""A repository of NVIDIA's inflight_batcher_llm templates, filled or not: engines of TensorRT-LLM.

Source: triton_backend/all_models/inflight_batcher_llm of TensorRT-LLM up to 1.2; before, tensorrtllm_backend.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import reading
from builder.data_types import spelled
from builder.ensemble import Tensor
from builder.errors import BuilderError, SourceError, UsageError
from builder.inflight_batcher import engine_folder, tables, templates
from builder.inflight_batcher.engine_folder import EngineFolder
from builder.inflight_batcher.tables import Types
from builder.inflight_batcher.templates import Template
from builder.planning import versions
from builder.planning.placement import Gpu
from builder.planning.resolving import Machine, Needs, Resolution, resolve

TITLE = "NVIDIA's inflight_batcher_llm templates"
ENGINE, TOKENIZING = "tensorrt_llm", "preprocessing"
MODELS = (ENGINE, TOKENIZING, "postprocessing", "ensemble", "tensorrt_llm_bls")
"""NVIDIA's own names, by which the models ask each other."""

USUAL = {
    "triton_backend": ("tensorrtllm", "the C++ backend, the templates' usual one"),
    "batching_strategy": ("inflight_fused_batching", "what NVIDIA's pages pass"),
    "max_queue_delay_microseconds": ("0", "fill_template.py's own default"),
    "max_queue_size": ("0", "fill_template.py's own default"),
    "preprocessing_instance_count": ("1", "one of each"),
    "postprocessing_instance_count": ("1", "one of each"),
}
"""Placeholders whose value is known without being told, and where from."""

_OF_ENGINE = {
    "triton_max_batch_size": "build_config.max_batch_size",
    "bls_instance_count": "as many as the engine takes at once",
    "max_beam_width": "build_config.max_beam_width",
    "logits_datatype": "pretrained_config.logits_dtype",
    "encoder_input_features_data_type": "pretrained_config.dtype",
    "prompt_embedding_table_data_type": "pretrained_config.dtype",
}
"""Placeholders that an engine decides, and by what of it."""

_LIKELY = {
    "decoupled_mode": "true",
    "logits_datatype": f"TYPE_{Types().logits}",
    "encoder_input_features_data_type": f"TYPE_{Types().features}",
    "prompt_embedding_table_data_type": f"TYPE_{Types().prompt_table}",
}
"""What stands in a place until it is filled, so that the rest can be read; else a number."""

OLD_NAMES = "0.19"
"""The last minor version whose tensors have the older names."""

Values = Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Answers:
    """What the command line tells: values of placeholders, where engine and tokenizer are."""

    values: Mapping[str, str]
    engine: Path | None = None
    tokenizer: Path | None = None
    triton: str | None = None
    card: Gpu | None = None
    driver: str = ""


@dataclass(frozen=True)
class Imported:
    """A repository as it was read.

    `models` are its configs by name, with a likely value in each place that nothing tells, but those that
    cannot be read so; `names` are all that are there. `values` are the placeholders that were filled, with
    where each value is from, `unset` those that stay the backend's choice. `version` is the TensorRT-LLM that
    its tensors are of, `card` the GPU that was asked for. `differences` are told where its tensors are not
    NVIDIA's, `problems` are what keeps it from being written, each with what mends it; where there is no
    `engine`, why comes first.
    """

    path: Path
    names: tuple[str, ...]
    models: Mapping[str, Any]
    values: Values
    unset: tuple[str, ...]
    version: str
    engine: EngineFolder | None = None
    tokenizer: Path | None = None
    container: Resolution | None = None
    card: Gpu | None = None
    differences: tuple[str, ...] = ()
    problems: tuple[BuilderError, ...] = ()

    @property
    def parameters(self) -> dict[str, str]:
        """Return what the engine's model is told, without what is not set."""
        told = self.models[ENGINE].parameters if ENGINE in self.models else {}
        found = {name: told[name].string_value for name in told}
        return {name: value for name, value in sorted(found.items()) if not templates.is_unset(value)}


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
    found = {name: _template(folder, name) for name in _names(folder)}
    _require_known(answers.values, found)
    _require_once(answers)
    problems: list[BuilderError] = []
    engine = _engine(found, answers, problems)
    values = _values(found, answers, engine)
    # what an engine would tell is not asked for: it is the engine that is lacking
    asked = set(values) | (set() if engine else set(_OF_ENGINE))
    lacking = {name: [one for one in told.bare if one not in asked] for name, told in found.items()}
    problems += [_unknown(name, bare) for name, bare in lacking.items() if bare]
    plain = {name: value for name, (value, _) in values.items()}
    models = {name: _model(folder, name, told, plain) for name, told in found.items()}
    models = {name: model for name, model in models.items() if model is not None}
    container = _container(engine, answers, problems)
    version = engine.version if engine else (container.container.tensorrtllm if container else "")
    version = version or _version_of(models)
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
        differences=tuple(_differences(models, version)),
        problems=tuple(problems),
    )


def _names(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/config.pbtxt"))


def _template(folder: Path, name: str) -> Template:
    path = folder / name / "config.pbtxt"
    try:
        return templates.read(reading.content(path).decode())
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read: {error}", remedy="copy the repository again") from error


def _model(folder: Path, name: str, told: Template, values: Mapping[str, str]) -> Any:
    """Return a model's config, None for one that cannot be read before all of it is filled.

    Raises SourceError for one that is filled and broken.
    """
    likely = {one: _LIKELY.get(one, "1") for one in told.bare if one not in values}
    try:
        return templates.parse(templates.fill(told, {**values, **likely}), f"{folder}/{name}/config.pbtxt")
    except SourceError:
        if likely:
            return None
        raise


def _require_known(given: Mapping[str, str], found: Mapping[str, Template]) -> None:
    known = sorted({one for told in found.values() for one in (*told.bare, *told.quoted)})
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise UsageError(
            f"--fill {unknown[0]}={given[unknown[0]]}: no template has ${{{unknown[0]}}}",
            expected=f"one of {', '.join(known)}" if known else "no --fill: all is filled already",
        )


def _require_once(answers: Answers) -> None:
    """Raise UsageError for an engine or a tokenizer that is named in two ways."""
    for name, option, folder in (
        ("engine_dir", "--engine", answers.engine),
        ("tokenizer_dir", "--tokenizer", answers.tokenizer),
    ):
        if folder is not None and name in answers.values:
            raise UsageError(
                f"--fill {name}={answers.values[name]} beside {option} {folder}",
                expected="one of them: both say where it lies",
                remedy=f"leave --fill {name} out; it is written as the server will see it",
            )


def _values(found: Mapping[str, Template], answers: Answers, engine: EngineFolder | None) -> Values:
    """Return the values of all placeholders that are known: told, of the engine, or the usual ones."""
    deduced = {**USUAL, **(_of_engine(engine) if engine else {})}
    if "ensemble" in found or "tensorrt_llm_bls" in found:
        # theirs is FP16 in every version, and Triton loads no ensemble whose ends differ
        deduced["prompt_embedding_table_data_type"] = ("TYPE_FP16", "as the ensemble has it")
    wanted = {one for told in found.values() for one in (*told.bare, *told.quoted)}
    known = {name: value for name, value in deduced.items() if name in wanted}
    return known | {name: (value, "--fill") for name, value in answers.values.items()}


def _of_engine(engine: EngineFolder) -> dict[str, tuple[str, str]]:
    """Return what the engine decides of the templates."""
    types = _types(engine)
    values = (
        *(engine.max_batch_size, engine.max_batch_size, engine.max_beam_width),
        *(f"TYPE_{one}" for one in (types.logits, types.features, types.prompt_table)),
    )
    told = zip(_OF_ENGINE.items(), values, strict=True)
    return {name: (str(value), origin) for (name, origin), value in told if value}


def _types(engine: EngineFolder | None) -> Types:
    names = {"float32": "FP32", "float16": "FP16", "bfloat16": "BF16"}
    if engine is None:
        return Types()
    computed = names.get(engine.dtype, "FP16")
    return Types(names.get(engine.logits, "FP32"), computed, computed)


def _types_of(models: Mapping[str, Any]) -> Types:
    """Return the types that the engine's model has for what its engine decides."""
    names = {"logits": "draft_logits", "features": "encoder_input_features"}
    names["prompt_table"] = "prompt_embedding_table"
    held = {one.name: spelled(one.data_type) for one in models[ENGINE].input} if ENGINE in models else {}
    found = {field: held[name].removeprefix("TYPE_") for field, name in names.items() if name in held}
    return Types(**found)


def _unknown(model: str, bare: Iterable[str]) -> SourceError:
    named = ", ".join(f"${{{name}}}" for name in bare)
    return SourceError(
        f"{model}/config.pbtxt leaves {named} unfilled, and nothing here says what to write",
        expected="a value for each",
        remedy=" ".join(f"--fill {name}=VALUE" for name in bare),
    )


def _parameter(found: Mapping[str, Template], answers: Answers, model: str, name: str) -> str:
    """Return a parameter of a model that may not be readable yet, "" where it is not set."""
    if model not in found:
        return ""
    # a number fits in every place that is left
    text = templates.fill(found[model], dict.fromkeys(found[model].bare, "1") | dict(answers.values))
    try:
        told = templates.parse(text, model).parameters
    except SourceError:
        return ""
    value = told[name].string_value if name in told else ""
    return "" if templates.is_unset(value) else str(value)


def _engine(
    found: Mapping[str, Template], answers: Answers, problems: list[BuilderError]
) -> EngineFolder | None:
    told = _parameter(found, answers, ENGINE, "gpt_model_path")
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


def _version_of(models: Mapping[str, Any]) -> str:
    """Return the oldest version that calls the tensors so, "" where there are none to tell by."""
    names = {tensor.name for config in models.values() for tensor in config.input}
    return OLD_NAMES if names & {"min_length", "random_seed"} else "1.2" if names else ""


def _differences(models: Mapping[str, Any], version: str) -> Iterable[str]:
    """Yield where the tensors of NVIDIA's models are not those of their version."""
    types = _types_of(models)
    for name in MODELS:
        if name in models and version:
            told = tables.tensors(name, version, types)
            for side, expected in zip(("input", "output"), told, strict=True):
                yield from _compared(name, side, list(getattr(models[name], side)), expected)


def _compared(model: str, side: str, found: list[Any], expected: tuple[Tensor, ...]) -> Iterable[str]:
    wanted = {one.name: (f"TYPE_{one.data_type}", list(one.dims)) for one in expected}
    held = {one.name: (spelled(one.data_type), list(one.dims)) for one in found}
    if len(held) < len(found):
        twice = sorted({one.name for one in found if [other.name for other in found].count(one.name) > 1})
        yield f"{model}: {side} {', '.join(twice)} stands there twice; once is written"
    for name in sorted({*wanted, *held}, key=[*wanted, *held].index):
        if name not in held:
            yield f"{model}: {side} {name} of NVIDIA's is not there"
        elif name not in wanted:
            yield f"{model}: {side} {name} is its own, not NVIDIA's"
        elif held[name] != wanted[name]:
            yield f"{model}: {side} {name} is {_shape(held[name])}, NVIDIA's is {_shape(wanted[name])}"


def _shape(told: tuple[str, list[int]]) -> str:
    return f"{told[0]} {told[1]}"
