"""Members that several pipelines of `ensembles/` have: the tokenizer of an encoder, and the graph itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from builder.ensemble import Batching, Facts, Member, Step, Tensor

MAX_BATCH_SIZE = 64
AT_ONCE = Batching(max_queue_delay_microseconds=0, max_queue_size=0)
"""Whatever waits is taken, and nothing waits for company.

Without a queue policy: with any, Triton prepares no batch while one is computed, and now and then nobody
wakes its batcher when that one ends; the next request lies for half a second (2.51; `support_prefetching_`
in core/src/scheduler_utils.cc, `BatcherThread` in dynamic_batch_scheduler.cc).
"""

TEXT = Tensor("text_input", "STRING")
COUNT = Tensor("num_input_tokens", "INT32")
IDS = Tensor("input_ids", "INT32", (-1,), ragged=True)
ROWS = Tensor("rows", "INT32", (2,))
LABEL = Tensor("label", "STRING")
EXTENT = Tensor("extent", "INT32", (-1,), ragged=True, longest_as="places")
"""By its size alone the graph learns, as the length of `places`, how long the longest row of a batch is."""

WITHOUT_PADDING = (
    "texts of any lengths share a batch: they lie in it one after the other, nothing is computed on padding"
)
NO_QUEUE = "an ensemble has no queue of its own: its steps batch"


def tokenizer(*more: Tensor) -> Member:
    """Return the member that turns texts into rows of ids, with `more` outputs beside them."""
    return Member(
        suffix="_tokenizer",
        code="row_tokenizer",
        tokenizes=True,
        settings=("max_tokens", "truncate", "pad_id", "lower_case"),
        max_batch_size=MAX_BATCH_SIZE,
        batching=AT_ONCE,
        why="whatever waits is encoded together; no text waits for company",
        inputs=(TEXT,),
        outputs=(Tensor("input_ids", "INT32", (-1,)), ROWS, Tensor("extent", "INT32", (-1,)), COUNT, *more),
    )


def graph(
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    why: str,
    *,
    suffix: str = "_encoder",
    batches: bool = True,
) -> Member:
    """Return the member that is the artifact, run by Triton's onnxruntime backend."""
    return Member(
        suffix=suffix,
        backend="onnxruntime",
        on_engine_device=True,
        max_batch_size=MAX_BATCH_SIZE if batches else 0,
        batching=AT_ONCE if batches else None,
        why=why,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )


@dataclass(frozen=True)
class Naming:
    """How the best label gets its name: what the graph gives, and what comes after a graph of numbers.

    `outputs` are the graph's, model tensor -> ensemble tensor.
    """

    given: tuple[Tensor, ...]
    outputs: Mapping[str, str]
    members: tuple[Member, ...] = ()
    steps: tuple[Step, ...] = ()


def naming(scores: Tensor, facts: Facts) -> Naming:
    """Return LABEL as an output of the graph, or as that of a step of its own where it has no `strings`.

    That step hands the scores on: Triton 2.51 leaves out the step of an output that nobody asks for, though
    another step takes it.
    """
    if facts.strings:
        return Naming((scores, LABEL), _named((scores.name, LABEL.name)))
    member = Member(
        suffix="_labels",
        code="labels",
        settings=("labels",),
        max_batch_size=MAX_BATCH_SIZE,
        batching=AT_ONCE,
        why="whatever waits goes along; no scores wait for company",
        inputs=(scores,),
        outputs=(scores, LABEL),
    )
    unnamed = {scores.name: "unnamed_scores"}
    return Naming((scores,), unnamed, (member,), (step("_labels", unnamed, (scores.name, LABEL.name)),))


def ensemble(inputs: Sequence[Tensor], outputs: Sequence[Tensor], *steps: Step) -> Member:
    """Return the front that leads clients' tensors through the steps."""
    return Member(
        suffix="",
        max_batch_size=MAX_BATCH_SIZE,
        why=NO_QUEUE,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        steps=steps,
    )


def step(
    member: str, inputs: Mapping[str, str] | Sequence[str], outputs: Mapping[str, str] | Sequence[str]
) -> Step:
    """Return a step; tensors given as a list are called in the ensemble what the model calls them."""
    return Step(member, _named(inputs), _named(outputs))


def _named(tensors: Mapping[str, str] | Sequence[str]) -> Mapping[str, str]:
    return tensors if isinstance(tensors, Mapping) else {name: name for name in tensors}
