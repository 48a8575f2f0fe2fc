"""TRN23x: caches, transactions and metrics. Triton: ValidateModelConfig in core/src/model_config_utils.cc."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.layout import Model
from builder.rule import Fault, rule


@rule("TRN231")
def cache_of_sequences(model: Model, config: Any) -> Iterator[Fault]:
    """A model that batches sequences has no response cache.

    Triton: Response Cache does not currently support model m with sequence batching scheduler. Please disable
        the response cache.
    Bad:
        response_cache { enable: true }
        sequence_batching { }
    Good:
        sequence_batching { }
    """
    if config.response_cache.enable and config.HasField("sequence_batching"):
        yield Fault(
            ("response_cache", "enable"),
            f"Response Cache does not currently support model {model.name} with sequence batching scheduler",
            "remove response_cache",
        )


@rule("TRN232")
def cache_of_streams(model: Model, config: Any) -> Iterator[Fault]:
    """A decoupled model has no response cache.

    Triton: Response Cache does not currently support model m with 'decoupled' transaction policy. Please
        disable the response cache.
    Bad:
        response_cache { enable: true }
        model_transaction_policy { decoupled: true }
    Good:
        model_transaction_policy { decoupled: true }
    """
    if config.response_cache.enable and config.model_transaction_policy.decoupled:
        yield Fault(
            ("response_cache", "enable"),
            f"Response Cache does not currently support model {model.name} "
            "with 'decoupled' transaction policy",
            f"remove response_cache, or decoupled if {model.name} sends one response for each request",
        )


@rule("TRN233")
def metric_incomplete(model: Model, config: Any) -> Iterator[Fault]:
    """A metric_control names its family and the buckets of its histogram (24.11 and later).

    Triton: metric control must specify 'metric_identifier'
    Bad:
        model_metrics { metric_control { histogram_options { buckets: [ 1, 2 ] } } }
    Good:
        model_metrics {
          metric_control {
            metric_identifier { family: "nv_inference_first_response_histogram_ms" }
            histogram_options { buckets: [ 1, 2 ] }
          }
        }
    """
    for place, control in enumerate(config.model_metrics.metric_control):
        path = ("model_metrics", "metric_control", place)
        if not control.HasField("metric_identifier"):
            message = "metric control must specify 'metric_identifier'"
        elif not control.metric_identifier.family:
            message = "metric identifier must specify non-empty 'family'"
        elif not control.HasField("histogram_options"):
            message = "metric control must specify 'histogram_options'"
        elif not control.histogram_options.buckets:
            message = "histogram options must specify non-empty 'buckets'"
        else:
            continue
        yield Fault(path, f"{message} for {model.name}", "write it, or remove this metric_control")
