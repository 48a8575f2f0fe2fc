"""Embedding: a text in, its vector out."""

from __future__ import annotations

from builder import members
from builder.ensemble import Facts, Pipeline, Tensor
from builder.members import COUNT, EXTENT, IDS, ROWS, TEXT, step


def pipeline(facts: Facts) -> Pipeline:
    """Return the members for vectors of `facts.width` numbers."""
    vector = Tensor("embedding", "FP32", (facts.width,))
    return Pipeline(
        description="text in, one vector out",
        samples="texts",
        main="embedding",
        members=(
            members.tokenizer(),
            members.graph((IDS, ROWS, EXTENT), (vector,), members.WITHOUT_PADDING),
            members.ensemble(
                (TEXT,),
                (vector, COUNT),
                step("_tokenizer", ["text_input"], ["input_ids", "rows", "extent", "num_input_tokens"]),
                step("_encoder", ["input_ids", "rows", "extent"], ["embedding"]),
            ),
        ),
    )
