"""Answer: what a server sent back, the same whichever way it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class TritonError(Exception):
    """What Triton answered instead of a result; `code` is the HTTP status or the gRPC status name."""

    def __init__(self, message: str, code: int | str | None = None) -> None:
        super().__init__(message)
        self.code = code


class Silence(TritonError):
    """Nothing came within the patience of the call."""


@dataclass(frozen=True)
class Reply:
    """One response of a stream: every output as a flat list."""

    outputs: Mapping[str, list[Any]]

    def one(self, name: str) -> Any:
        """Return the single value of an output; raise KeyError with what there is when it is absent."""
        values = self.outputs.get(name)
        if not values:
            raise KeyError(f"no value in output {name!r}; the response holds {sorted(self.outputs)}")
        return values[0]

    @property
    def text(self) -> str:
        return str(self.one("text_output"))

    @property
    def ids(self) -> list[int]:
        return [int(value) for value in self.outputs.get("output_ids", [])]

    @property
    def sequence(self) -> int:
        return int(self.one("sequence_index"))


@dataclass
class Answer:
    """All responses to one request, and the error that ended it, if one did."""

    replies: list[Reply] = field(default_factory=list)
    error: str | None = None
    code: int | str | None = None
    ended: bool = False
    """Whether the server marked the end: a final response over gRPC, the end of the body over HTTP."""

    def of(self, sequence: int = 0) -> list[Reply]:
        """Return the responses of one of the sequences asked for."""
        return [reply for reply in self.replies if reply.sequence == sequence]

    def text(self, sequence: int = 0) -> str:
        return "".join(reply.text for reply in self.of(sequence))

    def ids(self, sequence: int = 0) -> list[int]:
        return [token for reply in self.of(sequence) for token in reply.ids]

    def reasons(self, sequence: int = 0) -> list[str]:
        """Return `finish_reason` of every response; all but the last should be empty."""
        return [str(reply.one("finish_reason")) for reply in self.of(sequence)]

    def finish_reason(self, sequence: int = 0) -> str:
        reasons = self.reasons(sequence)
        return reasons[-1] if reasons else ""

    def last(self, name: str, sequence: int = 0) -> Any:
        return self.of(sequence)[-1].one(name)

    def values(self, name: str, sequence: int = 0) -> list[Any]:
        """Return an output of all responses, joined."""
        return [value for reply in self.of(sequence) for value in reply.outputs.get(name, [])]


def read_json(fields: Mapping[str, Any]) -> Reply:
    """Turn generate's JSON, where a tensor of one element is a scalar, into a Reply."""
    return Reply(
        {
            name: list(value) if isinstance(value, list) else [value]
            for name, value in fields.items()
            if name not in ("model_name", "model_version", "id", "error")
        }
    )


def read_events(status: int, events: list[dict[str, Any]]) -> Answer:
    answer = Answer(ended=True)
    for event in events:
        if "error" in event:
            answer.error, answer.code = str(event["error"]), status
        else:
            answer.replies.append(read_json(event))
    if status != 200 and answer.error is None:
        answer.error, answer.code = f"HTTP {status}", status
    return answer
