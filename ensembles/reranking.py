"""Reranking: a query and its documents in, a score for each document out.

From the tokenizer on a pair of texts is a row of a batch of its own, so that Triton counts pairs, not
queries, when it makes one: never more is computed at once than was planned, however many documents queries
have. The last step gives each query its scores.
"""

from __future__ import annotations

from builder import members
from builder.ensemble import Facts, Member, Pipeline, Tensor
from builder.members import EXTENT, IDS, step

_QUERY = Tensor("query", "STRING")
_DOCUMENTS = Tensor("documents", "STRING", (-1,))
_SCORES = Tensor("scores", "FP32", (-1,))
_SCORE = Tensor("scores", "FP32")
_ROWS = Tensor("rows", "INT32", (3,))
_QUERIES = Tensor("queries", "INT32")
"""To which query of its request a pair belongs."""

TOKENIZER = Member(
    suffix="_tokenizer",
    code="pair_tokenizer",
    tokenizes=True,
    settings=("max_tokens", "truncate", "pad_id", "lower_case"),
    max_batch_size=members.MAX_BATCH_SIZE,
    batching=members.AT_ONCE,
    why="whatever waits is encoded together; no query waits for company",
    inputs=(_QUERY, Tensor("documents", "STRING", (-1,), ragged=True)),
    outputs=(Tensor("input_ids", "INT32", (-1,)), _ROWS, Tensor("extent", "INT32", (-1,)), _QUERIES),
)
GROUPING = Member(
    suffix="_scores",
    code="pair_scores",
    max_batch_size=members.MAX_BATCH_SIZE,
    batching=members.AT_ONCE,
    why="whatever waits goes along; no scores wait for company",
    inputs=(_SCORE, _QUERIES),
    outputs=(_SCORES,),
)


def pipeline(facts: Facts) -> Pipeline:
    """Return the members; a cross-encoder has one score."""
    return Pipeline(
        description="query and documents in, scores out",
        samples="pairs",
        main="scores",
        members=(
            TOKENIZER,
            members.graph(
                (IDS, _ROWS, EXTENT),
                (_SCORE,),
                "pairs of any lengths share a batch, of one query or of many, without padding",
            ),
            GROUPING,
            members.ensemble(
                (_QUERY, _DOCUMENTS),
                (_SCORES,),
                step("_tokenizer", ["query", "documents"], ["input_ids", "rows", "extent", "queries"]),
                step("_encoder", ["input_ids", "rows", "extent"], {"scores": "pair_scores"}),
                step("_scores", {"scores": "pair_scores", "queries": "queries"}, ["scores"]),
            ),
        ),
    )
