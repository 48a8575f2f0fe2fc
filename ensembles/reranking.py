"""Reranking: a query and its documents in, a score for each document out.

One request holds one query: its pairs lie one after the other, so that requests with different numbers of
documents share a batch, and the scores come back to each by as many as it has documents.
"""

from __future__ import annotations

from builder import members
from builder.ensemble import Facts, Member, Pipeline, Tensor
from builder.members import EXTENT, IDS, step

_PAIRS = tuple(Tensor(name, "INT32", (-1,), ragged=True) for name in ("tokens", "widths", "first_tokens"))
_NAMES = ["input_ids", *(tensor.name for tensor in _PAIRS), "extent"]
_QUERY = Tensor("query", "STRING")
_DOCUMENTS = Tensor("documents", "STRING", (-1,))

TOKENIZER = Member(
    suffix="_tokenizer",
    code="pair_tokenizer",
    tokenizes=True,
    settings=("max_tokens", "truncate", "pad_id", "lower_case", "max_documents"),
    max_batch_size=members.MAX_BATCH_SIZE,
    batching=members.AT_ONCE,
    why="whatever waits is encoded together; no query waits for company",
    inputs=(_QUERY, Tensor("documents", "STRING", (-1,), ragged=True)),
    outputs=tuple(Tensor(name, "INT32", (-1,)) for name in _NAMES),
)


def pipeline(facts: Facts) -> Pipeline:
    """Return the members; a cross-encoder has one score."""
    scores = Tensor("scores", "FP32", (-1,))
    return Pipeline(
        description="query and documents in, scores out",
        samples="pairs",
        main="scores",
        members=(
            TOKENIZER,
            members.graph(
                (IDS, *_PAIRS, EXTENT),
                (Tensor("scores", "FP32", (-1,), scattered_like="tokens"),),
                "queries with any number of documents of any lengths share a batch, without padding",
            ),
            members.ensemble(
                (_QUERY, _DOCUMENTS),
                (scores,),
                step("_tokenizer", ["query", "documents"], _NAMES),
                step("_encoder", _NAMES, ["scores"]),
            ),
        ),
    )
