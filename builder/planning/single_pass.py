"""The plan of a model that answers in one pass: weights, and what one batch of the longest inputs takes."""

from __future__ import annotations

from math import ceil
from typing import Protocol, cast

from builder.errors import PlanError, UsageError
from builder.members import MAX_BATCH_SIZE
from builder.planning import engine_options, memory
from builder.planning.asked import Decision, Question, Subject
from builder.planning.memory import Memory
from builder.planning.placement import Gpu, Split

PRECISION = "fp32"


class _Sizes(Protocol):
    parameters: int

    @property
    def table_parameters(self) -> int: ...

    def activation_elements(self, tokens: int) -> int: ...


def precision(subject: Subject, card: Gpu | None) -> str:
    """Return what the recipe wants; these models are small, and float32 is the source's own answer."""
    return subject.quantize or PRECISION


def usual_target(subject: Subject, quantize: str, card: Gpu | None, split: Split) -> str:
    """Return the recipe's, on whatever device."""
    return subject.target


def decide(question: Question) -> Decision:
    """Decide the longest text and the largest batch; on a GPU both must fit beside the weights."""
    subject, options = question.subject, question.options
    if question.split.gpus > 1:
        raise UsageError(
            f"--tp {question.split.tensor} --pp {question.split.pipeline}",
            expected="1 and 1: a model that answers in one pass runs whole on one device",
        )
    most = MAX_BATCH_SIZE if subject.facts.batches else 1
    rows = most if options.concurrency is None else options.concurrency
    if not 1 <= rows <= most:
        raise UsageError(f"--concurrency {rows}", expected=f"1 to {most} rows of a batch")
    filled = _memory(question, rows, _tokens(subject, options.max_context))
    return Decision(
        memory=filled,
        concurrency=rows,
        engine=question.way.ENGINES[question.device][0],
        engine_why="",
        engine_arguments=engine_options.of(question, filled, rows),
    )


def _tokens(subject: Subject, asked: int | None) -> int:
    most = subject.dimensions.context_length
    if asked is None:
        return min(subject.max_tokens or most, most)
    if not 1 <= asked <= most:
        raise UsageError(
            f"--max-context {asked}", expected=f"1 to {most} tokens, what the model has places for"
        )
    return asked


def _inputs(tokens: int) -> str:
    """Return what a batch is made of; images, rows of a table and bare tensors have one token each."""
    return f"texts of {tokens} tokens" if tokens > 1 else "inputs"


def _memory(question: Question, rows: int, tokens: int) -> Memory:
    sizes, quantization = cast(_Sizes, question.subject.dimensions), question.quantization
    tables = sizes.table_parameters
    matrices = sizes.parameters - tables
    weights = ceil((matrices * quantization.weight_bits + tables * quantization.embedding_bits) / 8)
    activations = ceil(rows * sizes.activation_elements(tokens) * quantization.cache_bytes)
    card = question.card
    filled = Memory(
        total=card.memory if card else None,
        weights=weights,
        cache_per_token=0,
        cache=0,
        runtime=memory.RUNTIME_BYTES if card else 0,
        context=tokens,
        tokens=rows * tokens,
        sequences=rows,
        activations=activations,
    )
    if card and filled.used > card.memory * memory.USABLE:
        raise PlanError(
            f"{question.subject.name} does not fit {card.title}: {filled.used / memory.GIB:.1f} GiB for "
            f"weights and a batch of {rows} {_inputs(tokens)}, of {card.memory / memory.GIB:.1f} GiB",
            remedy="use a smaller --concurrency" + (" or --max-context" if tokens > 1 else ""),
        )
    return filled
