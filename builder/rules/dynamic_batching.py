"""TRN20x: the dynamic batcher. Triton: ValidateModelConfig in core/src/model_config_utils.cc."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.layout import Model
from builder.rule import Fault, rule
from builder.textproto import Key, Path

_BATCHER = "dynamic_batching"


@rule("TRN201")
def preferred_batch_size_positive(model: Model, config: Any) -> Iterator[Fault]:
    """A preferred batch size is 1 or more.

    Triton: dynamic batching preferred size must be positive for X
    Bad:
        max_batch_size: 8
        dynamic_batching { preferred_batch_size: [ 0, 8 ] }
    Good:
        max_batch_size: 8
        dynamic_batching { preferred_batch_size: [ 4, 8 ] }
    """
    for place, size in enumerate(config.dynamic_batching.preferred_batch_size):
        if size < 1:
            yield Fault(
                (_BATCHER, "preferred_batch_size", place),
                f"dynamic batching preferred size must be positive for {model.name}: it is {size}",
                f"remove it, or write a size from 1 to {config.max_batch_size}",
            )


@rule("TRN202")
def preferred_batch_size_fits(model: Model, config: Any) -> Iterator[Fault]:
    """A preferred batch size is no larger than max_batch_size.

    Triton: dynamic batching preferred size must be <= max batch size for X
    Bad:
        max_batch_size: 8
        dynamic_batching { preferred_batch_size: [ 4, 16 ] }
    Good:
        max_batch_size: 16
        dynamic_batching { preferred_batch_size: [ 4, 16 ] }
    """
    sizes = config.dynamic_batching.preferred_batch_size
    if sizes and not config.max_batch_size:
        yield Fault(
            (_BATCHER, "preferred_batch_size"),
            f"dynamic batching preferred size must be <= max batch size for {model.name}, which is not set",
            f"write max_batch_size: {max(sizes)}, so that every request has the batch as its first "
            "dimension, or remove dynamic_batching",
        )
        return
    for place, size in enumerate(sizes):
        if size > config.max_batch_size:
            yield Fault(
                (_BATCHER, "preferred_batch_size", place),
                f"dynamic batching preferred size must be <= max batch size for {model.name}: "
                f"{size} is more than {config.max_batch_size}",
                f"remove {size}, or raise max_batch_size to {max(sizes)}",
            )


@rule("TRN203")
def default_priority_level_in_range(model: Model, config: Any) -> Iterator[Fault]:
    """With priority_levels, default_priority_level is one of them; leaving it out is 0, which is none.

    Triton: default priority level must be in range [1, 2] for X
    Bad:
        max_batch_size: 8
        dynamic_batching { priority_levels: 2 }
    Good:
        max_batch_size: 8
        dynamic_batching { priority_levels: 2 default_priority_level: 1 }
    """
    batcher = config.dynamic_batching
    if batcher.priority_levels and not 1 <= batcher.default_priority_level <= batcher.priority_levels:
        named = "default_priority_level" if batcher.default_priority_level else "priority_levels"
        yield Fault(
            (_BATCHER, named),
            f"default priority level must be in range [1, {batcher.priority_levels}] for {model.name}: "
            f"it is {batcher.default_priority_level or 'not set'}",
            f"write a level from 1, which is served first, to {batcher.priority_levels}, or raise "
            "priority_levels",
        )


@rule("TRN204")
def priority_queue_policy_in_range(model: Model, config: Any) -> Iterator[Fault]:
    """A priority_queue_policy is for one of the priority levels.

    Triton: priority queue policy must have priority level in range [1, 2] for X
    Bad:
        max_batch_size: 8
        dynamic_batching {
          priority_levels: 2
          default_priority_level: 1
          priority_queue_policy { key: 3 value { max_queue_size: 4 } }
        }
    Good:
        max_batch_size: 8
        dynamic_batching {
          priority_levels: 2
          default_priority_level: 1
          priority_queue_policy { key: 2 value { max_queue_size: 4 } }
        }
    """
    batcher = config.dynamic_batching
    for level in sorted(batcher.priority_queue_policy) if batcher.priority_levels else ():
        if not 1 <= level <= batcher.priority_levels:
            yield Fault(
                (_BATCHER, "priority_queue_policy", Key(str(level))),
                f"priority queue policy must have priority level in range [1, {batcher.priority_levels}] "
                f"for {model.name}: it has {level}",
                f"raise priority_levels to {level}, or name one of the levels",
            )


@rule("TRN205")
def one_priority_when_ordered(model: Model, config: Any) -> Iterator[Fault]:
    """preserve_ordering allows one priority level only.

    Triton: Only one priority level is allowed when 'preserve_ordering' is true for X
    Bad:
        max_batch_size: 8
        dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }
    Good:
        max_batch_size: 8
        dynamic_batching { preserve_ordering: true }
    """
    batcher = config.dynamic_batching
    if batcher.preserve_ordering and batcher.priority_levels > 1:
        yield Fault(
            (_BATCHER, "priority_levels"),
            f"Only one priority level is allowed when 'preserve_ordering' is true for {model.name}",
            "remove preserve_ordering, or the priorities",
        )


@rule("TRN206")
def no_delay_when_ordered(model: Model, config: Any) -> Iterator[Fault]:
    """With preserve_ordering a request that waits too long cannot be put off: it can only be rejected.

    Triton: Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true for X
    Bad:
        max_batch_size: 8
        dynamic_batching {
          preserve_ordering: true
          default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 1000 }
        }
    Good:
        max_batch_size: 8
        dynamic_batching {
          preserve_ordering: true
          default_queue_policy { timeout_action: REJECT default_timeout_microseconds: 1000 }
        }
    """
    batcher = config.dynamic_batching
    policies: list[tuple[Path, Any]] = [((_BATCHER, "default_queue_policy"), batcher.default_queue_policy)]
    policies += [
        ((_BATCHER, "priority_queue_policy", Key(str(level)), "value"), policy)
        for level, policy in sorted(batcher.priority_queue_policy.items())
    ]
    for path, policy in policies if batcher.preserve_ordering else ():
        if policy.timeout_action == policy.DELAY and policy.default_timeout_microseconds:
            yield Fault(
                (*path, "timeout_action"),
                "Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true for "
                + model.name,
                "write timeout_action: REJECT, or remove preserve_ordering",
            )
