"""NVIDIA's own Triton models for TensorRT-LLM, their names and their tensors: clients change nothing.

Which these are follows from the target: inflight_batcher_llm's for engines, llmapi's for the LLM API.
"""

from __future__ import annotations

from typing import cast

from builder.contract import Contract
from builder.inflight_batcher import llmapi, stock

TITLE = "NVIDIA's own models: ensemble and tensorrt_llm_bls for engines, model.yaml for the LLM API"
TARGETS = ("llmapi", "tensorrtllm")


def of(target: str) -> Contract:
    """Return the contract as one of TARGETS has it."""
    return cast(Contract, {"llmapi": llmapi, "tensorrtllm": stock}[target])
