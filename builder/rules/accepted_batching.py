"""TRN72x: what Triton accepts without a word, and its users regret: batching, queues, sequences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.layout import Model
from builder.rule import Fault, rule
from builder.textproto import Path

_BATCHER = "dynamic_batching"


@rule("TRN721", "warning")
def batching_without_batches(model: Model, config: Any) -> Iterator[Fault]:
    """A model with dynamic_batching has max_batch_size above 0: otherwise only its queue is used.

    Bad:
        dynamic_batching { preferred_batch_size: [ ] max_queue_delay_microseconds: 100 }
    Good:
        max_batch_size: 8
        dynamic_batching { max_queue_delay_microseconds: 100 }
    """
    batcher = config.dynamic_batching
    # preferred sizes are preferred_batch_size_fits's to tell
    queue = (
        batcher.HasField("default_queue_policy") or batcher.priority_levels or batcher.preferred_batch_size
    )
    if config.HasField(_BATCHER) and config.max_batch_size == 0 and not queue:
        yield Fault(
            (_BATCHER,),
            f"{model.name} has dynamic_batching and max_batch_size 0: nothing is ever batched",
            "write max_batch_size, or remove dynamic_batching",
        )


@rule("TRN722", "warning")
def priority_policy_without_levels(model: Model, config: Any) -> Iterator[Fault]:
    """A priority_queue_policy goes with priority_levels: without them it is ignored.

    Bad:
        max_batch_size: 8
        dynamic_batching { priority_queue_policy { key: 1 value { max_queue_size: 4 } } }
    Good:
        max_batch_size: 8
        dynamic_batching { default_queue_policy { max_queue_size: 4 } }
    """
    batcher = config.dynamic_batching
    if batcher.priority_queue_policy and not batcher.priority_levels:
        yield Fault(
            (_BATCHER, "priority_queue_policy"),
            f"{model.name} has a priority_queue_policy and no priority_levels, so Triton ignores it",
            "write priority_levels and default_priority_level, or a default_queue_policy",
        )


@rule("TRN723", "warning")
def timeout_never_fires(model: Model, config: Any) -> Iterator[Fault]:
    """allow_timeout_override goes with a default timeout: a client's counts only where it is the shorter one.

    Bad:
        max_batch_size: 8
        dynamic_batching { default_queue_policy { allow_timeout_override: true } }
    Good:
        max_batch_size: 8
        dynamic_batching {
          default_queue_policy { allow_timeout_override: true default_timeout_microseconds: 60000000 }
        }
    """
    for path, policy in _policies(config):
        if policy.allow_timeout_override and not policy.default_timeout_microseconds:
            yield Fault(
                (*path, "allow_timeout_override"),
                f"the timeout of a request to {model.name} never counts: it can only shorten a default "
                "timeout, and there is none",
                "write default_timeout_microseconds: the longest that a request may wait",
            )


@rule("TRN724", "warning")
def batch_in_dims(model: Model, config: Any) -> Iterator[Fault]:
    """With max_batch_size the dims leave the batch out: Triton puts it before them.

    Bad:
        max_batch_size: 8
        input { name: "X" data_type: TYPE_FP32 dims: [ 8, 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 8, 2 ] }
    Good:
        max_batch_size: 8
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] }
    """
    tensors = [*config.input, *config.output]
    size = config.max_batch_size
    if size > 1 and tensors and all(len(one.dims) > 1 and one.dims[0] == size for one in tensors):
        yield Fault(
            ("input", 0, "dims") if config.input else ("output", 0, "dims"),
            f"all tensors of {model.name} begin with {size}, which is max_batch_size: the batch seems to be "
            "in dims, and Triton adds it once more",
            "leave the first dim out",
        )


@rule("TRN725", "warning")
def lengths_never_batch(model: Model, config: Any) -> Iterator[Fault]:
    """Requests whose tensors differ in size are batched only where the input allows a ragged batch.

    Bad:
        max_batch_size: 8
        input { name: "X" data_type: TYPE_INT64 dims: [ -1 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        dynamic_batching { }
    Good:
        max_batch_size: 8
        input { name: "X" data_type: TYPE_INT64 dims: [ -1 ] allow_ragged_batch: true }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        dynamic_batching { }
    """
    if not config.HasField(_BATCHER) or config.max_batch_size < 2:
        return
    for place, tensor in enumerate(config.input):
        if -1 in tensor.dims and not tensor.allow_ragged_batch and not tensor.optional:
            yield Fault(
                ("input", place, "dims"),
                f"requests to {model.name} whose '{tensor.name}' differ in size never share a batch",
                "pad them to few sizes, or write allow_ragged_batch: true if the model's code takes tensors "
                "of different sizes",
            )


@rule("TRN726", "warning")
def sequences_that_stream(model: Model, config: Any) -> Iterator[Fault]:
    """A model that batches sequences is not decoupled, unless it is iterative.

    Bad:
        sequence_batching { }
        model_transaction_policy { decoupled: true }
    Good:
        sequence_batching { iterative_sequence: true }
        model_transaction_policy { decoupled: true }
    """
    batcher = config.sequence_batching
    decoupled = config.model_transaction_policy.decoupled
    if config.HasField("sequence_batching") and decoupled and not batcher.iterative_sequence:
        yield Fault(
            ("model_transaction_policy", "decoupled"),
            f"{model.name} batches sequences and is decoupled: "
            "Triton releases its slot with the first response",
            "write iterative_sequence: true, or remove decoupled",
        )


@rule("TRN727", "warning")
def state_dims_zero(model: Model, config: Any) -> Iterator[Fault]:
    """A state's dims are 1 or more, or -1.

    Bad:
        sequence_batching { state { input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ 0 ] } }
    Good:
        sequence_batching { state { input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ 1 ] } }
    """
    for place, state in enumerate(config.sequence_batching.state):
        for size in state.dims:
            if size == 0 or size < -1:
                yield Fault(
                    ("sequence_batching", "state", place, "dims"),
                    f"state '{state.input_name}' of {model.name} has a dimension of {size}",
                    "write the state's size, or -1 where it varies",
                )


def _policies(config: Any) -> Iterator[tuple[Path, Any]]:
    yield (_BATCHER, "default_queue_policy"), config.dynamic_batching.default_queue_policy
    for place, policy in enumerate(config.dynamic_batching.priority_queue_policy.values()):
        yield (_BATCHER, "priority_queue_policy", place, "value"), policy


@rule("TRN731", "warning")
def queue_policy_with_one_instance(model: Model, config: Any) -> Iterator[Fault]:
    """With a queue policy a model has two instances: with one, a request now and then lies half a second.

    A policy keeps Triton from preparing a batch while another is computed. Where the only instance ends in
    the moment in which a request comes, nobody wakes the batcher, and it looks again after 500 ms (seen on
    2.51: one in two hundred requests of a lone client).

    Bad:
        max_batch_size: 8
        instance_group { count: 1 kind: KIND_CPU }
        dynamic_batching { default_queue_policy { max_queue_size: 64 } }
    Good:
        max_batch_size: 8
        instance_group { count: 2 kind: KIND_CPU }
        dynamic_batching { default_queue_policy { max_queue_size: 64 } }
    """
    batcher = config.dynamic_batching
    policy = batcher.default_queue_policy
    limits = policy.max_queue_size or policy.default_timeout_microseconds or policy.allow_timeout_override
    if not (limits or batcher.priority_levels) or _instances(model, config) != 1:
        return
    yield Fault(
        (_BATCHER, "default_queue_policy" if limits else "priority_levels"),
        f"{model.name} has one instance and a queue policy: now and then a request lies for half a second",
        "give it a second instance, or remove the policy",
    )


def _instances(model: Model, config: Any) -> int:
    """Return how many instances a config asks for, 0 where that depends on the backend or the machine."""
    if not config.instance_group:
        return int(model.backend == "python")
    counts = [max(1, group.count) * max(1, len(group.gpus)) for group in config.instance_group]
    known = all(
        group.kind in (group.KIND_CPU, group.KIND_MODEL) or group.gpus for group in config.instance_group
    )
    return sum(counts) if known else 0
