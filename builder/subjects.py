"""What NAME on the command line stands for: a recipe's published numbers, a checkpoint, or both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from builder import (
    architecture,
    encoder,
    engine_layouts,
    facts,
    house,
    recipe,
    source,
    speculation,
    weight_format,
)
from builder.architecture import Dimensions
from builder.errors import SourceError
from builder.plan import Subject
from builder.planning import profile
from builder.source import Checkpoint
from builder.weight_format import Stored

PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "bf16"}
"""What a config says the weights are kept in -> what they are computed in where nobody says otherwise."""


def name_of(name: str, served_name: str | None) -> str:
    """Return what NAME is served as: a recipe's file by its own name."""
    return served_name or (Path(name).stem if name.endswith(".toml") else name)


def read(
    name: str,
    checkpoint: str | None,
    served_name: str | None,
    draft: str | None = None,
    revision: str | None = None,
) -> tuple[Subject, Checkpoint | None]:
    """Find out what NAME is: its checkpoint where that is at hand, else its recipe's published numbers.

    `revision` is the commit that is pinned, None for what the recipe says, or the newest.

    Raises:
        UsageError: NAME is no recipe and no checkpoint was given.
        SourceError: the checkpoint that was given cannot be read, or contradicts its recipe; a draft that
            guesses other tokens.
    """
    subject, found = _read(name, checkpoint, served_name, revision)
    return (_with_draft(subject, found, draft) if draft else subject), found


def _with_draft(subject: Subject, found: Checkpoint | None, reference: str) -> Subject:
    draft, guesses = speculation.read_draft(reference)
    if isinstance(subject.dimensions, Dimensions):
        speculation.require_same_size(draft, subject.name, subject.dimensions.vocabulary_size)
    files = [one.tokenizer_files.get("tokenizer.json") for one in (guesses, found) if one]
    if len(files) == 2 and files[0] and files[1]:
        speculation.require_same_tokens(reference, subject.name, (files[0], files[1]))
    return replace(subject, draft=draft)


def _read(
    name: str, checkpoint: str | None, served_name: str | None, revision: str | None
) -> tuple[Subject, Checkpoint | None]:
    known = name in recipe.names() or name.endswith(".toml")
    if not known and not checkpoint:
        recipe.load(name)
    if known:
        subject = _from_recipe(recipe.load(name))
        if not checkpoint:
            found = _at_hand(subject.origin)
            subject = replace(
                subject, name=served_name or subject.name, revision=revision or subject.revision
            )
            return (refined(subject, found), found) if found else (subject, None)
        wanted: Subject | None = subject
    else:
        wanted = None
    found = source.open_checkpoint(str(checkpoint), revision)
    subject = _from_checkpoint(served_name or (wanted.name if wanted else name), found, wanted)
    return subject, found


def refined(subject: Subject, found: Checkpoint) -> Subject:
    """Return a recipe's subject with what only its checkpoint says: labels, image sizes, longest texts."""
    known = replace(
        subject, weights_at_hand=True, stored=_stored(found), config=found.config, checkpoint=found
    )
    folder = found.path if found.path.is_dir() else None
    if subject.pipeline == "text_generation" or folder is None:
        return known
    return replace(
        known,
        facts=facts.read(subject.pipeline, found.config, folder),
        max_tokens=subject.max_tokens or _most_tokens(subject.pipeline, folder),
    )


def _from_recipe(known: recipe.Recipe) -> Subject:
    return Subject(
        name=known.name,
        origin=known.checkpoint,
        revision=known.revision,
        model_type=known.model_type,
        dimensions=known.dimensions(),
        target=known.target,
        precision=known.precision,
        weights_at_hand=False,
        quantize=known.quantize,
        pipeline=known.pipeline,
        facts=facts.read(known.pipeline, known.config, None),
        max_tokens=known.max_tokens,
        truncates=known.truncate,
        stored=weight_format.read(known.config),
        config=known.config,
        limits=known.limits,
    )


def _from_checkpoint(name: str, found: Checkpoint, wanted: Subject | None) -> Subject:
    family = architecture.load(found.model_type)
    folder = found.path if found.path.is_dir() else None
    pipeline = wanted.pipeline if wanted else _pipeline(family.PIPELINES, found, folder)
    if pipeline not in family.PIPELINES:
        raise SourceError(
            f"{found.origin} is a {found.model_type}, which does no {pipeline}",
            expected=f"a model for {pipeline}, as the recipe says",
            remedy="pass a checkpoint of that kind, or build it under a name that is no recipe",
        )
    stored = _stored(found)
    return Subject(
        name=name,
        origin=found.origin,
        model_type=found.model_type,
        dimensions=family.dimensions(found.config),
        target=_target(pipeline, wanted, stored),
        precision=wanted.precision if wanted else _precision(found),
        weights_at_hand=True,
        quantize=wanted.quantize if wanted and not stored else None,
        pipeline=pipeline,
        facts=facts.read(pipeline, found.config, folder),
        max_tokens=(wanted.max_tokens if wanted else None) or _most_tokens(pipeline, folder),
        truncates=wanted.truncates if wanted else False,
        stored=stored,
        # only a graph that is served as it was given has them
        opset=int(found.config.get("opset", 0)),
        ir_version=int(found.config.get("ir_version", 0)),
        config=found.config,
        limits=wanted.limits if wanted else {},
        checkpoint=found,
    )


def _precision(found: Checkpoint) -> str:
    name = "dtype" if found.config.get("dtype") is not None else "torch_dtype"
    dtype = found.config.get(name)
    if dtype is None:
        return "bf16"
    if not isinstance(dtype, str) or dtype not in PRECISIONS:
        raise SourceError(
            f"{found.origin}: config.json says {name} {dtype!r}",
            expected=f"one of {', '.join(PRECISIONS)}",
            remedy=f"set {name} to what the model computes in, or take config.json from its own repository",
        )
    return PRECISIONS[dtype]


def _stored(found: Checkpoint) -> Stored | None:
    stored = weight_format.read(found.config, (tensor.nbytes for tensor in found.tensors.values()))
    layers = found.config.get("num_hidden_layers", 0)
    return stored and engine_layouts.with_cache(stored, found.tensors, layers)


def _most_tokens(pipeline: str, folder: Path | None) -> int | None:
    return None if folder is None or pipeline == "text_generation" else facts.most_tokens(folder)


def _pipeline(offered: tuple[str, ...], found: Checkpoint, folder: Path | None) -> str:
    """Return what a checkpoint is for, where its family serves for several things."""
    if len(offered) == 1:
        return offered[0]
    modules = folder is not None and (folder / "modules.json").is_file()
    return encoder.pipeline(found.config, modules)


def _target(pipeline: str, wanted: Subject | None, stored: Stored | None) -> str:
    """Return the recipe's target, or the first that runs such models on any machine.

    Of weights that are quantised already, one that takes them.
    """
    able = tuple(stored.kernels) if stored else ()
    if wanted and (not able or wanted.target in able):
        return wanted.target
    for name in (*able, *sorted(house.plugin_names("targets"), key=_rate, reverse=True)):
        target = house.plugin("targets", name, option="--target")
        if pipeline in target.PIPELINES and (name in able or "cpu" in target.ENGINES):
            return name
    raise SourceError(f"no target builds models for {pipeline}")


def _rate(target: str) -> float:
    """Return the most tokens per second that an engine of a target was measured with on a CPU, 0 for none."""
    engines = house.plugin("targets", target, option="--target").ENGINES.get("cpu", ())
    return max((row.tokens_per_second for row in profile.shipped() if row.engine in engines), default=0.0)


def _at_hand(reference: str) -> Checkpoint | None:
    """Return the recipe's checkpoint if that costs no network: it lies in an installed package or folder.

    Raises SourceError for a file or folder that is there and is no checkpoint: a build would not take it.
    """
    if Path(reference).exists():
        return source.open_checkpoint(reference)
    if not reference.startswith(("package:", "trained:")):
        return None
    try:
        return source.open_checkpoint(reference)
    except SourceError:
        return None
