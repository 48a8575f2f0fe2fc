"""NVIDIA's stock model for TensorRT-LLM's LLM API: `--contract nvidia` of target llmapi.

llmapi of TensorRT-LLM's triton_backend, 1.0 to 1.2: one model of Python, told by a model.yaml beside its
code. config.pbtxt, model.yaml and the tensors are NVIDIA's, so that its own model.py runs there too; what is
written is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.ensemble import Member, Pipeline
from builder.inflight_batcher import tables
from builder.planning.resolving import Needs

TITLE = "NVIDIA's model.yaml for the LLM API"
TARGETS = ("llmapi",)
IMAGE = "trtllm-python-py3"
CONTAINERS = Needs(sort=IMAGE, library="tensorrtllm", least=(1, 0), below=(1, 3)).releases

FILE = "model.yaml"
NAME = "tensorrt_llm"

_INPUTS, _OUTPUTS = tables.tensors("llmapi", "1.2")

MODEL = Member(
    suffix="",
    named=NAME,
    code="nvidia_llmapi",
    tokenizes=True,
    # TensorRT-LLM: "current implementation does not support batching"
    max_batch_size=0,
    decoupled=True,
    on_engine_device=True,
    accepted=("TRN710: clients ask over generate_stream or gRPC streams, as of NVIDIA's decoupled one",),
    why="the engine batches: it takes every request at once and interleaves their steps",
    inputs=_INPUTS,
    outputs=_OUTPUTS,
)


def members(pipeline: Pipeline) -> tuple[Member, ...]:
    """Return one model: it tokenises and decodes by itself."""
    return (MODEL,)


def engine_arguments(planned: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was planned."""
    return dict(planned)


def front_arguments(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return nothing: it reads the engine's arguments in model.yaml, where people look for them."""
    return {}


def files(told: Mapping[str, Any], home: str) -> dict[str, Any]:
    """Return model.yaml: what is Triton's under triton_config, all else for LLM(**arguments).

    Whether the model is decoupled stands in config.pbtxt too: NVIDIA's launcher switches off the completion
    that would take it from here.
    """
    return {
        FILE: {
            "model": f"{home}/model",
            "tokenizer": f"{home}/tokenizer",
            **told,
            "triton_config": {"max_batch_size": MODEL.max_batch_size, "decoupled": MODEL.decoupled},
        }
    }
