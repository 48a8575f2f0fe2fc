"""The config that is served against the one that was written, field by field."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from builder.verifications import configuration


def differences(written: str, served: str) -> list[str]:
    one, other = (text_format.Parse(text, ModelConfig()) for text in (written, served))
    return list(configuration._differences(one, other, "m"))


@pytest.mark.parametrize(
    ("written", "served", "field"),
    [
        ("dynamic_batching { }", "", "m.dynamic_batching"),
        ("version_policy { all { } }", "version_policy { }", "m.version_policy.all"),
        ('input { name: "X" reshape { } }', 'input { name: "X" }', "m.input[0].reshape"),
        ("sequence_batching { oldest { } }", "sequence_batching { }", "m.sequence_batching.oldest"),
        ("sequence_batching { oldest { } }", "dynamic_batching { }", "m.sequence_batching"),
        ("optimization { cuda { graphs: true } }", "optimization { }", "m.optimization.cuda"),
    ],
)
def test_a_message_that_is_gone_is_named_once(written: str, served: str, field: str) -> None:
    assert differences(written, served) == [f"{field} is not served"]
    assert differences(written, written) == []


@pytest.mark.parametrize(
    ("written", "served", "told"),
    [
        ("max_batch_size: 8", "max_batch_size: 4", "m.max_batch_size is 8 written and 4 served"),
        ("", "dynamic_batching { } max_batch_size: 4", ""),
        ("dynamic_batching { }", "dynamic_batching { preferred_batch_size: 8 }", ""),
        (
            'parameters { key: "a" value { string_value: "1" } }',
            'parameters { key: "b" value { string_value: "1" } }',
            "m.parameters['a'] is not served",
        ),
        ("instance_group { }", "", "m.instance_group has 1 entries written and 0 served"),
    ],
)
def test_what_the_server_adds_is_its_own_affair(written: str, served: str, told: str) -> None:
    assert differences(written, served) == ([told] if told else [])


def test_an_empty_message_counts_as_a_field() -> None:
    config = text_format.Parse('name: "m" dynamic_batching { } instance_group { count: 1 }', ModelConfig())
    assert len(list(configuration._leaves(config))) == 3
