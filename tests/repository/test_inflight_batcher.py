"""NVIDIA's models for TensorRT-LLM: the tables as its templates say them, and the engine's own model.

nvidia_tensors.txt was taken down from the templates, not from the tables under test.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf import text_format
from tokenizers import Tokenizer, models
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInput, ModelInstanceGroup

from builder import model_config
from builder.check import check
from builder.ensemble import Member
from builder.errors import UsageError
from builder.inflight_batcher import engine, tables, tokenizer_info
from builder.inflight_batcher.engine import Settings
from builder.planning.models import Instances, ModelPlan
from builder.rule import Host

TYPES = {
    "i32": "TYPE_INT32",
    "i64": "TYPE_INT64",
    "u64": "TYPE_UINT64",
    "u8": "TYPE_UINT8",
    "f32": "TYPE_FP32",
    "f16": "TYPE_FP16",
    "b": "TYPE_BOOL",
    "STR": "TYPE_STRING",
}
TABLES = Path(__file__).parent / "nvidia_tensors.txt"
COUNTS = {
    "tensorrt_llm": (62, 21),
    "preprocessing": (14, 20),
    "postprocessing": (2, 1),
    "ensemble": (36, 19),
    "tensorrt_llm_bls": (42, 19),
    "llmapi": (17, 16),
}


def expected(heading: str) -> list[tuple[Any, ...]]:
    """Return (name, type, dims, optional, ragged, scalar) of each tensor below a heading of TABLES."""
    text = TABLES.read_text().partition(f"== {heading}\n")[2].partition("==")[0]
    found = []
    for line in text.splitlines():
        read = re.fullmatch(r"(\w+) (\w+)\[(.*?)\](.*)", line)
        assert read is not None, line
        sizes = [int(size) for size in read[3].split(",")]
        found.append((read[1], TYPES[read[2]], sizes, *(mark in read[4].split() for mark in "ors")))
    return found


def written(tensors: Any) -> list[tuple[Any, ...]]:
    return [
        (
            one.name,
            DataType.Name(one.data_type),
            list(one.dims),
            one.optional if isinstance(one, ModelInput) else False,
            one.allow_ragged_batch if isinstance(one, ModelInput) else False,
            one.HasField("reshape") and not one.reshape.shape,
        )
        for one in tensors
    ]


def config(member: Member, version: int = 1, name: str = "m") -> ModelConfig:
    plan: Any = SimpleNamespace(name="m", models=(), kind="generation")
    text = model_config.text(ModelPlan(name, member, Instances("KIND_CPU")), plan, version)
    assert "${" not in text
    return text_format.Parse(text, ModelConfig())


@pytest.mark.parametrize("model", COUNTS)
def test_tensors_are_those_of_nvidia_s_template(model: str) -> None:
    inputs, outputs = tables.tensors(model, "1.2.1")
    read = config(Member(suffix="", why="", inputs=inputs, outputs=outputs, max_batch_size=4))
    assert written(read.input) == expected(f"{model} inputs")
    assert written(read.output) == expected(f"{model} outputs")
    assert (len(inputs), len(outputs)) == COUNTS[model]


@pytest.mark.parametrize("model", ["tensorrt_llm", "ensemble", "tensorrt_llm_bls"])
def test_versions_before_0_20_have_other_names_and_count_no_tokens(model: str) -> None:
    new, old = ([one.name for one in tables.tensors(model, version)[0]] for version in ("0.20.0", "0.19.0"))
    counts = ["return_num_input_tokens", "return_num_output_tokens"]
    names = {"min_tokens": "min_length", "seed": "random_seed"}
    assert old == [names.get(name, name) for name in new if name not in counts]
    assert new == [one.name for one in tables.tensors(model, "1.2.1")[0]]
    outputs = [one.name for one in tables.tensors(model, "0.19.0")[1]]
    assert [one.name for one in tables.tensors(model, "0.20")[1]][-2:] == [
        "num_input_tokens",
        "num_output_tokens",
    ]
    assert len(outputs) == COUNTS[model][1] - 2
    assert (tables.name_of("seed", "0.18.2"), tables.name_of("seed", "1.0")) == ("random_seed", "seed")


def test_an_engine_decides_types_of_its_own() -> None:
    types = tables.Types(logits="FP16", features="BF16", prompt_table="BF16")
    inputs, outputs = tables.tensors("tensorrt_llm", "1.2.1", types)
    found = {one.name: one.data_type for one in (*inputs, *outputs)}
    assert found["encoder_input_features"] == found["prompt_embedding_table"] == "BF16"
    assert {found[name] for name in ("draft_logits", "context_logits", "generation_logits")} == {"FP16"}


def test_the_engine_s_model_says_all_that_the_backend_needs() -> None:
    read = config(engine.member(Settings(32, "1.2.1")), version=3, name="chat_engine")
    assert (read.backend, read.max_batch_size) == ("tensorrtllm", 32)
    assert read.model_transaction_policy.decoupled
    (group,) = read.instance_group
    assert (group.kind, group.count) == (ModelInstanceGroup.KIND_CPU, 1)
    batching = read.dynamic_batching
    assert list(batching.preferred_batch_size) == [32]
    assert (batching.max_queue_delay_microseconds, batching.HasField("default_queue_policy")) == (0, False)
    assert {name: value.string_value for name, value in read.parameters.items()} == {
        "FORCE_CPU_ONLY_INPUT_TENSORS": "no",
        "gpt_model_type": "inflight_fused_batching",
        "gpt_model_path": "/models/chat_engine/3",
        "normalize_log_probs": "false",
        "tokenizer_dir": "",
        "guided_decoding_backend": "",
        "xgrammar_tokenizer_info_path": "",
    }


def test_settings_become_parameters_as_the_backend_reads_them() -> None:
    told = {
        "max_tokens_in_paged_kv_cache": 65536,
        "kv_cache_free_gpu_mem_fraction": 0.92,
        "max_attention_window_size": [4096, 8192],
        "enable_kv_cache_reuse": True,
        "enable_chunked_context": False,
        "batch_scheduler_policy": "max_utilization",
        "gpu_device_ids": "0,1;2,3",
        "lora_cache_host_memory_bytes": 2**30,
        "lora_cache_gpu_memory_fraction": 0.1,
        "decoding_mode": "lookahead",
        "lookahead_window_size": 7,
        "lookahead_ngram_size": 7,
        "lookahead_verification_set_size": 7,
        "medusa_choices": "{0},{0,0}",
        "executor_worker_path": "/opt/worker",
    }
    settings = Settings(8, "1.2.1", told, guided=True, max_queue_size=64, max_queue_delay_microseconds=100)
    read = config(engine.member(settings), name="chat_engine")
    found = {name: value.string_value for name, value in read.parameters.items()}
    assert {name: found[name] for name in told} == {
        "max_tokens_in_paged_kv_cache": "65536",
        "kv_cache_free_gpu_mem_fraction": "0.92",
        "max_attention_window_size": "4096,8192",
        "enable_kv_cache_reuse": "true",
        "enable_chunked_context": "false",
        "batch_scheduler_policy": "max_utilization",
        "gpu_device_ids": "0,1;2,3",
        "lora_cache_host_memory_bytes": "1073741824",
        "lora_cache_gpu_memory_fraction": "0.1",
        "decoding_mode": "lookahead",
        "lookahead_window_size": "7",
        "lookahead_ngram_size": "7",
        "lookahead_verification_set_size": "7",
        "medusa_choices": "{0},{0,0}",
        "executor_worker_path": "/opt/worker",
    }
    assert found["guided_decoding_backend"] == "xgrammar"
    assert found["xgrammar_tokenizer_info_path"] == "/models/chat_engine/1/tokenizer_info.json"
    batching = read.dynamic_batching
    assert (batching.max_queue_delay_microseconds, batching.default_queue_policy.max_queue_size) == (100, 64)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"max_beam_widht": 1}, ["'max_beam_widht'", "'max_beam_width'?"]),
        ({"max_beam_width": "one"}, ["max_beam_width is 'one'", "int"]),
        ({"max_beam_width": True}, ["max_beam_width is True", "int"]),
        ({"enable_chunked_context": "yes"}, ["enable_chunked_context is 'yes'", "bool"]),
        ({"decoding_mode": "greedy"}, ["decoding_mode is 'greedy'", "top_k, top_p, top_k_top_p"]),
        ({"max_attention_window_size": []}, ["max_attention_window_size is []", "ints"]),
        ({"gpt_model_path": "${engine_dir}"}, ["gpt_model_path is '${engine_dir}'"]),
        ({"decoding_mode": "lookahead"}, ["lookahead_window_size, lookahead_ngram_size"]),
        ({"guided_decoding_backend": "xgrammar"}, ["without xgrammar_tokenizer_info_path"]),
        ({"kv_cache_free_gpu_mem_fraction": 2}, ["is 2", "above 0 and below 1"]),
        ({"kv_cache_free_gpu_mem_fraction": 0.0}, ["is 0.0", "above 0 and below 1"]),
        ({"cross_kv_cache_fraction": 1}, ["cross_kv_cache_fraction is 1", "below 1"]),
        ({"max_beam_width": 0}, ["max_beam_width is 0", "at least 1"]),
        ({"max_attention_window_size": [1024, 0]}, ["is [1024, 0]", "at least 1"]),
        ({"gpu_device_ids": "0,1;1,1"}, ["gpu_device_ids is '0,1;1,1'", "one for each rank"]),
        ({"enable_trt_overlap": True}, ["no parameter 'enable_trt_overlap'"]),
    ],
)
def test_what_the_backend_would_not_understand_is_refused(told: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        engine.member(Settings(8, "1.2.1", told))
    assert all(word in str(refused.value) for word in words), refused.value


def test_guided_decoding_is_told_each_token_by_its_place(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "one": 1, "two": 4}, unk_token="<unk>"))
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    told = tokenizer_info.read(tmp_path, [3])
    assert told["encoded_vocab"] == ["<unk>", "one", "", "</s>", "two"]
    assert told["stop_token_ids"] == [3]
    assert Tokenizer.from_str(told["tokenizer_str"]).token_to_id("two") == 4


def test_the_engine_s_model_has_no_findings(tmp_path: Path) -> None:
    home = tmp_path / "chat_engine"
    (home / "1").mkdir(parents=True)
    read = config(engine.member(Settings(32, "1.2.1", {"max_beam_width": 1})), name="chat_engine")
    (home / "config.pbtxt").write_text(text_format.MessageToString(read))
    mapping = '"pretrained_config": {"mapping": {"world_size": 1}}, "build_config": {"max_batch_size": 32}'
    (home / "1" / "config.json").write_text(f'{{"version": "1.2.1", {mapping}}}')
    (home / "1" / "rank0.engine").write_bytes(b"engine")
    host = Host("26.07", gpus=1, completes=False)
    assert check(tmp_path, host=host) == []
    (home / "1" / "config.json").write_text(f'{{"version": "1.1.0", {mapping}}}')
    assert [one.code for one in check(tmp_path, host=host)] == ["TRN644"]
