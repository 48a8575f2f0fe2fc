"""Token classification: a text in, the entities in it out, with the characters that they span."""

from __future__ import annotations

from builder import members
from builder.ensemble import Facts, Member, Pipeline, Tensor
from builder.members import COUNT, EXTENT, IDS, ROWS, TEXT, step

OFFSETS = Tensor("offsets", "INT32", (-1, 2))
SPECIAL = Tensor("special", "INT32", (-1,))
ENTITIES = Tensor("entities", "STRING")


def pipeline(facts: Facts) -> Pipeline:
    """Return the members for tags of `facts.labels`."""
    scores = Tensor("token_scores", "FP32", (-1, len(facts.labels)))
    entities = Member(
        suffix="_entities",
        code="entities",
        settings=("labels", "strategy"),
        max_batch_size=members.MAX_BATCH_SIZE,
        batching=members.AT_ONCE,
        why="whatever waits goes along; no text waits for company",
        inputs=(
            Tensor("token_scores", "FP32", (-1, len(facts.labels)), ragged=True),
            ROWS,
            Tensor("offsets", "INT32", (-1, 2), ragged=True),
            Tensor("special", "INT32", (-1,), ragged=True),
            TEXT,
        ),
        outputs=(ENTITIES,),
    )
    return Pipeline(
        description="text in, entities with character offsets out",
        samples="texts",
        main="token_scores",
        members=(
            members.tokenizer(OFFSETS, SPECIAL),
            members.graph((IDS, ROWS, EXTENT), (scores,), members.WITHOUT_PADDING),
            entities,
            members.ensemble(
                (TEXT,),
                (ENTITIES, COUNT),
                step(
                    "_tokenizer",
                    ["text_input"],
                    ["input_ids", "rows", "extent", "num_input_tokens", "offsets", "special"],
                ),
                step("_encoder", ["input_ids", "rows", "extent"], ["token_scores"]),
                step("_entities", ["token_scores", "rows", "offsets", "special", "text_input"], ["entities"]),
            ),
        ),
    )
