"""What NAME on the command line stands for: a recipe's published numbers, a checkpoint, or both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from builder import architecture, recipe, source
from builder.errors import SourceError
from builder.plan import Subject
from builder.source import Checkpoint


def read(name: str, checkpoint: str | None, served_name: str | None) -> tuple[Subject, Checkpoint | None]:
    """Find out what NAME is: its checkpoint where that is at hand, else its recipe's published numbers.

    Raises:
        UsageError: NAME is no recipe and no checkpoint was given.
        SourceError: the checkpoint that was given cannot be read, or contradicts its recipe.
    """
    known = name in recipe.names() or name.endswith(".toml")
    if not known and not checkpoint:
        recipe.load(name)
    if known:
        subject = _from_recipe(recipe.load(name))
        if not checkpoint:
            found = _at_hand(subject.origin)
            subject = replace(subject, name=served_name or subject.name)
            return replace(subject, weights_at_hand=found is not None), found
        wanted: Subject | None = subject
    else:
        wanted = None
    found = source.open_checkpoint(str(checkpoint))
    subject = _from_checkpoint(served_name or (wanted.name if wanted else name), found, wanted)
    return subject, found


def _from_recipe(known: recipe.Recipe) -> Subject:
    return Subject(
        name=known.name,
        origin=known.checkpoint,
        model_type=known.model_type,
        dimensions=known.dimensions(),
        target=known.target,
        precision=known.precision,
        weights_at_hand=False,
        quantize=known.quantize,
    )


def _from_checkpoint(name: str, found: Checkpoint, wanted: Subject | None) -> Subject:
    dimensions = architecture.load(found.model_type).dimensions(found.config)
    dtype = str(found.config.get("dtype") or found.config.get("torch_dtype") or "bfloat16")
    precision = {"float32": "fp32", "float16": "fp16"}.get(dtype, "bf16")
    return Subject(
        name=name,
        origin=found.origin,
        model_type=found.model_type,
        dimensions=dimensions,
        target=wanted.target if wanted else "onnx",
        precision=wanted.precision if wanted else precision,
        weights_at_hand=True,
        quantize=wanted.quantize if wanted else None,
    )


def _at_hand(reference: str) -> Checkpoint | None:
    """Return the recipe's checkpoint if that costs no network: it lies in an installed package or folder."""
    if not reference.startswith("package:") and not Path(reference).exists():
        return None
    try:
        return source.open_checkpoint(reference)
    except SourceError:
        return None
