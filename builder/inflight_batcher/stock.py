"""NVIDIA's stock models for TensorRT-LLM's engines: `--contract nvidia` of target tensorrtllm.

inflight_batcher_llm of TensorRT-LLM's triton_backend, up to 1.2: clients of its templates change nothing. The
Python models are ours; `ensemble` is the front. The names are whole: a repository holds one such deployment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from builder.ensemble import Batching, Member, Pipeline, Step
from builder.errors import UsageError
from builder.inflight_batcher import engine, tables
from builder.planning.resolving import Needs

TITLE = "NVIDIA's ensemble, tensorrt_llm_bls and their parts, for engines of TensorRT-LLM"
TARGETS = ("tensorrtllm",)
IMAGE = "trtllm-python-py3"
ADAPTERS = True
# the tensors of older templates are not known, and later ones have none
CONTAINERS = Needs(sort=IMAGE, library="tensorrtllm", least=(0, 19), below=(1, 3)).releases

_PREPROCESSED = {
    "QUERY": "text_input",
    "DECODER_QUERY": "decoder_text_input",
    "REQUEST_OUTPUT_LEN": "max_tokens",
    "BAD_WORDS_DICT": "bad_words",
    "STOP_WORDS_DICT": "stop_words",
    "EMBEDDING_BIAS_WORDS": "embedding_bias_words",
    "EMBEDDING_BIAS_WEIGHTS": "embedding_bias_weights",
    "END_ID": "end_id",
    "PAD_ID": "pad_id",
    "PROMPT_TABLE_EXTRA_ID": "prompt_table_extra_id",
}

# output of preprocessing -> the ensemble's tensor, and the engine's input that takes it
_ENCODED = {
    "REQUEST_INPUT_LEN": ("_REQUEST_INPUT_LEN", "input_lengths"),
    "INPUT_ID": ("_INPUT_ID", "input_ids"),
    "REQUEST_DECODER_INPUT_LEN": ("_REQUEST_DECODER_INPUT_LEN", "decoder_input_lengths"),
    "DECODER_INPUT_ID": ("_DECODER_INPUT_ID", "decoder_input_ids"),
    "REQUEST_OUTPUT_LEN": ("_REQUEST_OUTPUT_LEN", "request_output_len"),
    "STOP_WORDS_IDS": ("_STOP_WORDS_IDS", "stop_words_list"),
    "BAD_WORDS_IDS": ("_BAD_WORDS_IDS", "bad_words_list"),
    "EMBEDDING_BIAS": ("_EMBEDDING_BIAS", "embedding_bias"),
    "OUT_END_ID": ("_PREPROCESSOR_END_ID", "end_id"),
    "OUT_PAD_ID": ("_PREPROCESSOR_PAD_ID", "pad_id"),
    "OUT_PROMPT_TABLE_EXTRA_IDS": ("_OUT_PROMPT_TABLE_EXTRA_IDS", "prompt_table_extra_ids"),
}

_RENAMED = {
    "top_k": "runtime_top_k",
    "top_p": "runtime_top_p",
    "length_penalty": "len_penalty",
    "stream": "streaming",
}
_INNER = {"output_ids": "_TOKENS_BATCH", "sequence_length": "_SEQUENCE_LENGTH"}
_TOKENIZING = ("bos_id", "end_ids", "pad_id")


def members(pipeline: Pipeline) -> tuple[Member, ...]:
    """Return NVIDIA's five models around the engine's own."""
    found = next((one for one in pipeline.members if one.backend == engine.BACKEND), None)
    if found is None:
        raise UsageError("contract nvidia is for the tensorrtllm backend, and this target has none")
    engines = replace(
        found, named="tensorrt_llm", parameters={**found.parameters, "normalize_log_probs": "true"}
    )
    names = {tensor.name for tensor in found.inputs}
    version = "0.19" if "random_seed" in names else "1.2"
    return (
        _preprocessing(engines, version),
        engines,
        _postprocessing(engines, version),
        _bls(engines, version),
        _ensemble(engines, version),
    )


def engine_arguments(planned: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was planned."""
    return dict(planned)


def files(told: Mapping[str, Any], home: str) -> dict[str, Any]:
    """Return none."""
    return {}


def _preprocessing(engines: Member, version: str) -> Member:
    inputs, outputs = tables.tensors("preprocessing", version)
    return Member(
        suffix="_preprocessing",
        named="preprocessing",
        code="nvidia_preprocessing",
        settings=_TOKENIZING,
        tokenizes=True,
        max_batch_size=engines.max_batch_size,
        batching=engines.batching,
        why="as NVIDIA's: requests with the same optional inputs share a batch",
        inputs=inputs,
        outputs=outputs,
    )


def _postprocessing(engines: Member, version: str) -> Member:
    inputs, outputs = tables.tensors("postprocessing", version)
    return Member(
        suffix="_postprocessing",
        named="postprocessing",
        code="nvidia_postprocessing",
        settings=_TOKENIZING,
        tokenizes=True,
        max_batch_size=engines.max_batch_size,
        batching=Batching(0, 0),
        accepted=("TRN725: the tensors are NVIDIA's",),
        why="whatever waits goes along",
        inputs=inputs,
        outputs=outputs,
    )


def _bls(engines: Member, version: str) -> Member:
    inputs, outputs = tables.tensors("tensorrt_llm_bls", version, _types(engines))
    return Member(
        suffix="_bls",
        named="tensorrt_llm_bls",
        code="nvidia_bls",
        settings=_TOKENIZING,
        tokenizes=True,
        max_batch_size=engines.max_batch_size,
        decoupled=True,
        accepted=("TRN710: clients ask over generate_stream or gRPC streams, as of NVIDIA's decoupled one",),
        parameters={"accumulate_tokens": "false", "tensorrt_llm_model_name": engines.named},
        why="the engine batches: it takes every request at once and interleaves their steps",
        inputs=inputs,
        outputs=outputs,
    )


def _ensemble(engines: Member, version: str) -> Member:
    inputs, outputs = tables.tensors("ensemble", version, _types(engines))
    encoded = {engine_input: tensor for tensor, engine_input in _ENCODED.values()}
    passed = {
        _RENAMED.get(one.name, one.name): one.name for one in inputs if one.name not in _PREPROCESSED.values()
    }
    answers = {one.name: one.name for one in outputs if one.name != "text_output"}
    return Member(
        suffix="",
        named="ensemble",
        max_batch_size=engines.max_batch_size,
        decoupled=True,
        accepted=("TRN729: clients that cancel ask tensorrt_llm_bls",),
        why="an ensemble has no queue of its own: its steps batch",
        inputs=inputs,
        outputs=outputs,
        steps=(
            Step("_preprocessing", _PREPROCESSED, {name: tensor for name, (tensor, _) in _ENCODED.items()}),
            Step(engines.suffix, {**encoded, **passed}, {**_INNER, **answers}),
            Step(
                "_postprocessing",
                {"TOKENS_BATCH": "_TOKENS_BATCH", "SEQUENCE_LENGTH": "_SEQUENCE_LENGTH"},
                {"OUTPUT": "text_output"},
            ),
        ),
    )


def _types(engines: Member) -> tables.Types:
    told = {one.name: one.data_type for one in (*engines.inputs, *engines.outputs)}
    return tables.Types(logits=told["context_logits"], adapters=told["lora_weights"])
