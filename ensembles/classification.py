"""Classification: a text in, a score for each label and the best of them out."""

from __future__ import annotations

from builder import members
from builder.ensemble import Facts, Pipeline, Tensor
from builder.members import COUNT, EXTENT, IDS, LABEL, ROWS, TEXT, step


def pipeline(facts: Facts) -> Pipeline:
    """Return the members for the scores of `facts.labels`."""
    scores = Tensor("scores", "FP32", (len(facts.labels),), labelled=True)
    named = members.naming(scores, facts)
    return Pipeline(
        description="text in, labels and scores out",
        samples="texts",
        main="scores",
        members=(
            members.tokenizer(),
            members.graph((IDS, ROWS, EXTENT), named.given, members.WITHOUT_PADDING),
            *named.members,
            members.ensemble(
                (TEXT,),
                (scores, LABEL, COUNT),
                step("_tokenizer", ["text_input"], ["input_ids", "rows", "extent", "num_input_tokens"]),
                step("_encoder", ["input_ids", "rows", "extent"], named.outputs),
                *named.steps,
            ),
        ),
    )
