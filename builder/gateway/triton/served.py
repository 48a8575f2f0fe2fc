"""What one model of Triton is, told by its config alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CHAT, EMBEDDING, RERANKING = "chat", "embedding", "reranking"


@dataclass(frozen=True)
class Served:
    """A model that is loaded.

    `inputs` and `outputs` are name -> data type in the words of the protocol (INT32, BYTES); `parameters`
    those of its config.pbtxt; `created` seconds since 1970 at which it was first seen. `token_texts` are the
    texts of ids as far as anybody asked, `bounds` what it was seen to refuse beyond.
    """

    name: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    decoupled: bool
    most_rows: int
    created: int = field(default=0, compare=False)
    token_texts: dict[int, str] = field(default_factory=dict, compare=False, repr=False)
    bounds: dict[str, int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def kind(self) -> str:
        """Return CHAT, EMBEDDING, RERANKING, or "" for a model that OpenAI's API has no endpoint for."""
        inputs, outputs = self.inputs, self.outputs
        if self.decoupled and {"messages", "text_input"} <= inputs.keys() and "text_output" in outputs:
            return CHAT
        if inputs.get("text_input") == "BYTES" and outputs.get("embedding") == "FP32":
            return EMBEDDING
        if {"query", "documents"} <= inputs.keys() and "scores" in outputs:
            return RERANKING
        return ""

    @property
    def chats(self) -> bool:
        """Say whether it takes conversations: its config may say that it has no chat template."""
        return self.kind == CHAT and self.parameters.get("chat") != "false"

    @property
    def reasons(self) -> bool:
        """Say whether the config tells that the front parts reasoning from answers."""
        return self.parameters.get("reasoning") == "true" and "reasoning_output" in self.outputs

    @property
    def context_length(self) -> int | None:
        """Return how many tokens prompt and answer may have together, if the config says so."""
        told = self.parameters.get("context_length", "")
        return int(told) if told.isdecimal() else None


def read(config: Any, created: int) -> Served:
    """Return what a ModelConfig message says."""
    return Served(
        name=config.name,
        inputs={tensor.name: _kind(tensor.data_type) for tensor in config.input},
        outputs={tensor.name: _kind(tensor.data_type) for tensor in config.output},
        parameters={name: value.string_value for name, value in config.parameters.items()},
        decoupled=config.model_transaction_policy.decoupled,
        most_rows=config.max_batch_size,
        created=created,
    )


def _kind(number: int) -> str:
    from tritonclient.grpc import model_config_pb2

    name = str(model_config_pb2.DataType.Name(number)).removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name
