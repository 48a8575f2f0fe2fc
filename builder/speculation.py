"""Speculation: tokens guessed ahead, which the model checks in one step; what it answers stays the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import architecture, source, weight_format
from builder.architecture import Dimensions
from builder.errors import SourceError
from builder.source import Checkpoint, read_json
from builder.weight_format import Stored

FOLDER = "draft"
"""Where a draft's checkpoint lies in the front's version."""


@dataclass(frozen=True)
class Draft:
    """A smaller model whose guesses are checked; `stored` is what it says of quantised weights."""

    origin: str
    revision: str
    model_type: str
    dimensions: Dimensions
    stored: Stored | None


@dataclass(frozen=True)
class Speculation:
    """How many tokens are guessed in each step, and by what.

    `ngram` are the least and the most tokens of a passage of the request's own text that is looked for again,
    None where a `draft` guesses.
    """

    tokens: int
    ngram: tuple[int, int] | None
    draft: Draft | None = None


def read_draft(reference: str) -> tuple[Draft, Checkpoint]:
    """Read the checkpoint of a draft; raise SourceError where it does not generate text."""
    try:
        found = source.open_checkpoint(reference)
    except SourceError as error:
        remedy = error.remedy.replace("--checkpoint", "--draft")
        raise SourceError(f"--draft: {error.found}", expected=error.expected, remedy=remedy) from error
    sizes = architecture.load(found.model_type).dimensions(found.config)
    if not isinstance(sizes, Dimensions):
        raise SourceError(
            f"--draft {reference} is a {found.model_type}, which does not generate text",
            expected="a smaller model of the same family",
        )
    stored = weight_format.read(found.config, (tensor.nbytes for tensor in found.tensors.values()))
    return Draft(reference, found.revision, found.model_type, sizes, stored), found


def require_same_size(draft: Draft, model: str, vocabulary_size: int) -> None:
    """Raise SourceError where the draft has another number of tokens than the model."""
    guessed = draft.dimensions.vocabulary_size
    if guessed != vocabulary_size:
        raise SourceError(
            f"--draft {draft.origin} has {guessed} tokens, {model} {vocabulary_size}",
            expected="the same vocab_size: the draft's guesses are token ids of the model",
            remedy="choose a draft of the model's own family and release",
        )


def require_same_tokens(draft: str, model: str, files: tuple[Path, Path]) -> None:
    """Raise SourceError where two tokenizer.json, the draft's and the model's, name an id differently."""
    guessed, known = (_tokens(read_json(file)) for file in files)
    other = sorted(place for place in guessed.keys() | known.keys() if guessed.get(place) != known.get(place))
    if other:
        first = other[0]
        raise SourceError(
            f"--draft {draft} has another tokenizer than {model}: id {first} is {guessed.get(first)!r} there "
            f"and {known.get(first)!r} here ({len(other)} ids differ)",
            expected="the same tokens: the draft's guesses are token ids of the model",
            remedy="choose a draft of the model's own family and release",
        )


def _tokens(tokenizer: dict[str, Any]) -> dict[int, str]:
    model = tokenizer.get("model", {})
    vocabulary = model.get("vocab", {})
    if isinstance(vocabulary, list):
        # a unigram model lists [piece, score]
        found = {place: str(piece) for place, (piece, _) in enumerate(vocabulary)}
    else:
        found = {place: token for token, place in vocabulary.items()}
    return found | {added["id"]: added["content"] for added in tokenizer.get("added_tokens", ())}
