"""What a deployment allows its clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends.engine.protocol import InvalidRequest


@dataclass(frozen=True)
class Limits:
    """What the deployment allows; `unsupported` are inputs that `engine` cannot honour.

    `adapters` are the names that `lora_name` may have. `lacking` says why of inputs that could be honoured.
    """

    context: int
    vocabulary: int
    end_ids: frozenset[int]
    deadline_seconds: float
    engine: str
    unsupported: frozenset[str] = field(default_factory=frozenset)
    adapters: tuple[str, ...] = ()
    lacking: Mapping[str, str] = field(default_factory=dict)


def require_vocabulary(name: str, ids: list[int], limits: Limits) -> None:
    """Raise InvalidRequest for ids that the model does not have."""
    for token in ids:
        if not 0 <= token < limits.vocabulary:
            raise InvalidRequest(f"{name} holds {token}, ids are 0 to {limits.vocabulary - 1}")
