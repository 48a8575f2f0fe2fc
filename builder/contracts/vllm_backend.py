"""NVIDIA's own form for vLLM: config.pbtxt and model.json, served by the vllm backend of its container.

The tensors are those that every version of triton-inference-server/vllm_backend since 2025 has (src/model.py,
auto_complete_config); where Triton may complete a configuration, the backend adds its newer ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.ensemble import Member, Pipeline, Tensor
from builder.planning.resolving import Needs
from builder.speculation import FOLDER

TITLE = "NVIDIA's vllm backend: config.pbtxt and model.json"
TARGETS = ("vllm",)
IMAGE = "vllm-python-py3"
NEEDS = Needs(sort=IMAGE, library="vllm", least=(0, 22), compute="7.5", instead="--contract builder")
CONTAINERS = NEEDS.releases

MODEL = Member(
    suffix="",
    backend="vllm",
    tokenizes=True,
    max_batch_size=0,
    decoupled=True,
    on_engine_device=True,
    why="vLLM batches: it takes every request at once",
    inputs=(
        Tensor("text_input", "STRING"),
        Tensor("stream", "BOOL", optional=True),
        Tensor("sampling_parameters", "STRING", optional=True),
        Tensor("exclude_input_in_output", "BOOL", optional=True),
        Tensor("return_finish_reason", "BOOL", optional=True),
        Tensor("return_cumulative_logprob", "BOOL", optional=True),
        Tensor("return_logprobs", "BOOL", optional=True),
        Tensor("return_num_input_tokens", "BOOL", optional=True),
        Tensor("return_num_output_tokens", "BOOL", optional=True),
    ),
    outputs=(
        Tensor("text_output", "STRING", (-1,)),
        Tensor("finish_reason", "STRING", (-1,)),
        Tensor("cumulative_logprob", "FP32", (-1,)),
        Tensor("logprobs", "STRING", (-1,)),
        Tensor("num_input_tokens", "UINT32"),
        Tensor("num_output_tokens", "UINT32", (-1,)),
    ),
)


def members(pipeline: Pipeline) -> tuple[Member, ...]:
    """Return one model: the backend tokenises and decodes by itself."""
    return (MODEL,)


def engine_arguments(planned: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was planned, but that vLLM reads by itself at which ids the checkpoint's texts end."""
    return {**planned, "generation_config": "auto"}


def files(told: Mapping[str, Any], home: str) -> dict[str, Any]:
    """Return model.json: the arguments of vLLM, which finds the checkpoint in the version folder itself."""
    guesses = dict(told.get("speculative_config") or {})
    if guesses.get("model") == FOLDER:
        told = {**told, "speculative_config": {**guesses, "model": f"{home}/{FOLDER}"}}
    return {"model.json": {"model": home, "tokenizer": f"{home}/tokenizer", **told}}
