"""What fills the `${...}` of NVIDIA's templates: what is told, what the engine decides, the usual."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from builder import reading
from builder.errors import SourceError, UsageError
from builder.inflight_batcher import templates
from builder.inflight_batcher.engine_folder import EngineFolder
from builder.inflight_batcher.imported import Answers, Values
from builder.inflight_batcher.tables import Types
from builder.inflight_batcher.templates import Template

USUAL = {
    "triton_backend": ("tensorrtllm", "the C++ backend, the templates' usual one"),
    "batching_strategy": ("inflight_fused_batching", "what NVIDIA's pages pass"),
    "max_queue_delay_microseconds": ("0", "fill_template.py's own default"),
    "max_queue_size": ("0", "fill_template.py's own default"),
    "preprocessing_instance_count": ("1", "one of each"),
    "postprocessing_instance_count": ("1", "one of each"),
}
"""Placeholders whose value is known without being told, and where from."""

OF_ENGINE = {
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


def template(folder: Path, name: str) -> Template:
    """Return a model's config as it lies there; raise SourceError where it cannot be read."""
    path = folder / name / "config.pbtxt"
    try:
        return templates.read(reading.content(path).decode())
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read: {error}", remedy="copy the repository again") from error


def model(folder: Path, name: str, told: Template, values: Mapping[str, str]) -> Any:
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


def parameter(found: Mapping[str, Template], answers: Answers, model: str, name: str) -> str:
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


def require_known(given: Mapping[str, str], found: Mapping[str, Template]) -> None:
    """Raise UsageError for a value of a placeholder that no template has."""
    known = sorted({one for told in found.values() for one in (*told.bare, *told.quoted)})
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise UsageError(
            f"--fill {unknown[0]}={given[unknown[0]]}: no template has ${{{unknown[0]}}}",
            expected=f"one of {', '.join(known)}" if known else "no --fill: all is filled already",
        )


def require_once(answers: Answers) -> None:
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


def values(found: Mapping[str, Template], answers: Answers, engine: EngineFolder | None) -> Values:
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
    told = zip(OF_ENGINE.items(), values, strict=True)
    return {name: (str(value), origin) for (name, origin), value in told if value}


def _types(engine: EngineFolder | None) -> Types:
    names = {"float32": "FP32", "float16": "FP16", "bfloat16": "BF16"}
    if engine is None:
        return Types()
    computed = names.get(engine.dtype, "FP16")
    return Types(names.get(engine.logits, "FP32"), computed, computed)


def unfilled(model: str, bare: Iterable[str]) -> SourceError:
    """Return the error of placeholders that nothing tells."""
    named = ", ".join(f"${{{name}}}" for name in bare)
    return SourceError(
        f"{model}/config.pbtxt leaves {named} unfilled, and nothing here says what to write",
        expected="a value for each",
        remedy=" ".join(f"--fill {name}=VALUE" for name in bare),
    )
