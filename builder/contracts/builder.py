"""The front of ours: one contract whatever the engine, for text, chats, ids, streams, cancels and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.ensemble import Member, Pipeline

TITLE = "the same inputs and outputs for every engine"
TARGETS: tuple[str, ...] = ()
CONTAINERS: tuple[str, ...] = ()
IMAGE = ""


def members(pipeline: Pipeline) -> tuple[Member, ...]:
    """Return the pipeline's own."""
    return pipeline.members


def engine_arguments(planned: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was planned."""
    return dict(planned)


def files(told: Mapping[str, Any], home: str) -> dict[str, Any]:
    """Return none: what the front is told stands in its settings."""
    return {}
