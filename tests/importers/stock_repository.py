"""A repository as NVIDIA's templates of TensorRT-LLM 1.2 make it, `${...}` left in, and an engine beside it.

NVIDIA's files are not copied: their tensors are those of repository/nvidia_tensors.txt, taken down by hand,
around them stands what triton_backend/all_models/inflight_batcher_llm has around them. The Python models are
stand-ins: only their config.pbtxt is imported.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

TABLES = Path(__file__).parents[1] / "repository" / "nvidia_tensors.txt"
TYPES = {"i32": "INT32", "i64": "INT64", "u64": "UINT64", "u8": "UINT8", "f32": "FP32", "f16": "FP16"} | {
    "b": "BOOL",
    "STR": "STRING",
}
MODEL = """class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            request.get_response_sender().send(flags=1)
"""
BATCHING = """max_batch_size: ${triton_max_batch_size}
dynamic_batching {
  preferred_batch_size: [ ${triton_max_batch_size} ]
  max_queue_delay_microseconds: ${max_queue_delay_microseconds}
  default_queue_policy: { max_queue_size: ${max_queue_size} }
}
"""
ENGINE_PARAMETERS = {
    "max_beam_width": "${max_beam_width}",
    "FORCE_CPU_ONLY_INPUT_TENSORS": "no",
    "gpt_model_type": "${batching_strategy}",
    "gpt_model_path": "${engine_dir}",
    "encoder_model_path": "${encoder_engine_dir}",
    **{
        name: f"${{{name}}}"
        for name in (
            *("max_tokens_in_paged_kv_cache", "max_attention_window_size", "sink_token_length"),
            *("batch_scheduler_policy", "kv_cache_free_gpu_mem_fraction", "cross_kv_cache_fraction"),
            *("kv_cache_host_memory_bytes", "kv_cache_onboard_blocks", "enable_trt_overlap"),
            *("exclude_input_in_output", "cancellation_check_period_ms", "stats_check_period_ms"),
            *("enable_kv_cache_reuse", "normalize_log_probs", "enable_chunked_context", "gpu_device_ids"),
            *("lora_cache_optimal_adapter_size", "lora_cache_gpu_memory_fraction", "decoding_mode"),
            *("medusa_choices", "eagle_choices", "gpu_weights_percent", "multi_block_mode"),
            *("tokenizer_dir", "guided_decoding_backend", "xgrammar_tokenizer_info_path"),
        )
    },
    "executor_worker_path": "/opt/tritonserver/backends/tensorrtllm/trtllmExecutorWorker",
}
STEPS = {
    "preprocessing": (
        {"QUERY": "text_input", "DECODER_QUERY": "decoder_text_input", "REQUEST_OUTPUT_LEN": "max_tokens"}
        | {"BAD_WORDS_DICT": "bad_words", "STOP_WORDS_DICT": "stop_words", "END_ID": "end_id"}
        | {"EMBEDDING_BIAS_WORDS": "embedding_bias_words", "PAD_ID": "pad_id"}
        | {"EMBEDDING_BIAS_WEIGHTS": "embedding_bias_weights"}
        | {"PROMPT_TABLE_EXTRA_ID": "prompt_table_extra_id"},
        {"REQUEST_INPUT_LEN": "_REQUEST_INPUT_LEN", "INPUT_ID": "_INPUT_ID"}
        | {"REQUEST_DECODER_INPUT_LEN": "_REQUEST_DECODER_INPUT_LEN"}
        | {"DECODER_INPUT_ID": "_DECODER_INPUT_ID", "REQUEST_OUTPUT_LEN": "_REQUEST_OUTPUT_LEN"}
        | {"STOP_WORDS_IDS": "_STOP_WORDS_IDS", "BAD_WORDS_IDS": "_BAD_WORDS_IDS"}
        | {"EMBEDDING_BIAS": "_EMBEDDING_BIAS", "OUT_END_ID": "_PREPROCESSOR_END_ID"}
        | {"OUT_PAD_ID": "_PREPROCESSOR_PAD_ID"}
        | {"OUT_PROMPT_TABLE_EXTRA_IDS": "_OUT_PROMPT_TABLE_EXTRA_IDS"},
    ),
    "tensorrt_llm": (
        {"input_ids": "_INPUT_ID", "decoder_input_ids": "_DECODER_INPUT_ID"}
        | {"input_lengths": "_REQUEST_INPUT_LEN", "decoder_input_lengths": "_REQUEST_DECODER_INPUT_LEN"}
        | {"request_output_len": "_REQUEST_OUTPUT_LEN", "end_id": "_PREPROCESSOR_END_ID"}
        | {"pad_id": "_PREPROCESSOR_PAD_ID", "embedding_bias": "_EMBEDDING_BIAS"}
        | {"runtime_top_k": "top_k", "runtime_top_p": "top_p", "len_penalty": "length_penalty"}
        | {"stop_words_list": "_STOP_WORDS_IDS", "bad_words_list": "_BAD_WORDS_IDS", "streaming": "stream"}
        | {"prompt_table_extra_ids": "_OUT_PROMPT_TABLE_EXTRA_IDS"}
        | {
            name: name
            for name in (
                *("exclude_input_in_output", "num_return_sequences", "temperature", "repetition_penalty"),
                *("min_tokens", "presence_penalty", "frequency_penalty", "seed", "return_log_probs"),
                *("return_context_logits", "return_generation_logits", "return_perf_metrics"),
                *("return_num_input_tokens", "return_num_output_tokens", "beam_width"),
                *("prompt_embedding_table", "prompt_vocab_size", "lora_task_id", "lora_weights"),
                *("lora_config", "guided_decoding_guide_type", "guided_decoding_guide"),
            )
        },
        {"output_ids": "_TOKENS_BATCH", "sequence_length": "_SEQUENCE_LENGTH"},
    ),
    "postprocessing": (
        {"TOKENS_BATCH": "_TOKENS_BATCH", "SEQUENCE_LENGTH": "_SEQUENCE_LENGTH"},
        {"OUTPUT": "text_output"},
    ),
}


def tensors(heading: str) -> list[tuple[str, str, str, str]]:
    """Return (name, type, dims, marks) of each tensor below a heading of the table."""
    text = TABLES.read_text(encoding="utf-8").partition(f"== {heading}\n")[2].partition("==")[0]
    rows = [re.fullmatch(r"(\w+) (\w+)\[(.*?)\](.*)", line) for line in text.splitlines()]
    return [(row[1], TYPES[row[2]], row[3], row[4]) for row in rows if row]


def _tensors(model: str, logits: str) -> str:
    lines = []
    for side in ("inputs", "outputs"):
        for name, kind, dims, marks in tensors(f"{model} {side}"):
            of_engine = name in ("draft_logits", "context_logits", "generation_logits")
            more = "" if " o" not in marks else " optional: true"
            more += " allow_ragged_batch: true" if " r" in marks else ""
            more += " reshape: { shape: [ ] }" if " s" in marks else ""
            kind = logits if of_engine else f"TYPE_{kind}"
            lines.append(f'{side[:-1]} {{ name: "{name}" data_type: {kind} dims: [ {dims} ]{more} }}')
            if (model, name) == ("ensemble", "kv_cache_alloc_total_blocks"):
                lines.append(lines[-1])  # NVIDIA's own file says it twice
    return "\n".join(lines) + "\n"


def _parameters(told: dict[str, str]) -> str:
    return "".join(
        f'parameters: {{ key: "{name}" value: {{ string_value: "{value}" }} }}\n'
        for name, value in told.items()
    )


def _steps() -> str:
    passed = [row[0] for row in tensors("ensemble outputs") if row[0] != "text_output"]
    steps = []
    for model, (inputs, outputs) in STEPS.items():
        given = outputs | ({name: name for name in passed} if model == "tensorrt_llm" else {})
        maps = [
            *(f'input_map {{ key: "{key}" value: "{value}" }}' for key, value in inputs.items()),
            *(f'output_map {{ key: "{key}" value: "{value}" }}' for key, value in given.items()),
        ]
        steps.append(f'step {{ model_name: "{model}" model_version: -1 {" ".join(maps)} }}')
    return f"ensemble_scheduling {{ {' '.join(steps)} }}\n"


def configs() -> dict[str, str]:
    """Return the five templates by the names of their models."""
    python = 'backend: "python"\n'
    counted = "instance_group [ { count: ${%s} kind: KIND_CPU } ]\n"
    return {
        "tensorrt_llm": f'name: "tensorrt_llm"\nbackend: "${{triton_backend}}"\n{BATCHING}'
        "model_transaction_policy { decoupled: ${decoupled_mode} }\n"
        + _tensors("tensorrt_llm", "${logits_datatype}")
        .replace(
            'encoder_input_features" data_type: TYPE_FP16',
            'encoder_input_features" data_type: ${encoder_input_features_data_type}',
        )
        .replace(
            'prompt_embedding_table" data_type: TYPE_FP16',
            'prompt_embedding_table" data_type: ${prompt_embedding_table_data_type}',
        )
        + 'instance_group [ { count: 1 kind : KIND_CPU } ]\n# "${commented_out}"\n'
        + _parameters(ENGINE_PARAMETERS),
        "preprocessing": f'name: "preprocessing"\n{python}{BATCHING}{_tensors("preprocessing", "TYPE_FP32")}'
        + counted % "preprocessing_instance_count"
        + _parameters(
            {"tokenizer_dir": "${tokenizer_dir}", "add_special_tokens": "${add_special_tokens}"}
            | {"multimodal_model_path": "${multimodal_model_path}", "gpt_model_path": "${engine_dir}"}
        ),
        "postprocessing": f'name: "postprocessing"\n{python}max_batch_size: ${{triton_max_batch_size}}\n'
        f"dynamic_batching {{}}\n{_tensors('postprocessing', 'TYPE_FP32')}"
        + counted % "postprocessing_instance_count"
        + _parameters({"tokenizer_dir": "${tokenizer_dir}", "skip_special_tokens": "${skip_special_tokens}"}),
        "ensemble": 'name: "ensemble"\nplatform: "ensemble"\nmax_batch_size: ${triton_max_batch_size}\n'
        + _tensors("ensemble", "${logits_datatype}")
        + _steps(),
        "tensorrt_llm_bls": f'name: "tensorrt_llm_bls"\n{python}max_batch_size: ${{triton_max_batch_size}}\n'
        "model_transaction_policy { decoupled: ${decoupled_mode} }\n"
        + _tensors("tensorrt_llm_bls", "${logits_datatype}")
        + counted % "bls_instance_count"
        + _parameters({"accumulate_tokens": "${accumulate_tokens}"})
        + _parameters({"tensorrt_llm_model_name": "${tensorrt_llm_model_name}"}),
    }


def write(folder: Path) -> Path:
    """Write the repository as it is unpacked: nothing filled."""
    for name, text in configs().items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(text, encoding="utf-8")
        if name not in ("ensemble", "tensorrt_llm"):
            (folder / name / "1" / "model.py").write_text(MODEL, encoding="utf-8")
    return folder


def engine(folder: Path, ranks: int = 1, version: str = "1.2.1", groups: int = 0, **built: Any) -> Path:
    """Write a folder as `trtllm-build` leaves it; the ranks' bytes are no engine's.

    `groups` are those that share out experts, 0 for a dense model of before there were any.
    """
    folder.mkdir(parents=True)
    told = {
        "version": version,
        "pretrained_config": {
            "architecture": "LlamaForCausalLM",
            "dtype": "bfloat16",
            "logits_dtype": "float32",
            "mapping": {"world_size": ranks, "tp_size": ranks, "pp_size": 1}
            | ({"moe_tp_size": ranks // groups, "moe_ep_size": groups} if groups else {}),
            "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"},
        },
        "build_config": {
            "max_batch_size": 64,
            "max_beam_width": 1,
            "max_seq_len": 8192,
            "max_num_tokens": 4096,
        }
        | built,
    }
    (folder / "config.json").write_text(json.dumps(told), encoding="utf-8")
    for rank in range(ranks):
        (folder / f"rank{rank}.engine").write_bytes(b"engine")
    return folder
