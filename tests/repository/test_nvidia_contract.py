"""`--contract nvidia`: the stock models under NVIDIA's names, as its templates wire them."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf import text_format
from test_inflight_batcher import expected, written
from tritonclient.grpc.model_config_pb2 import ModelConfig

from builder import house, model_config
from builder.check import check
from builder.ensemble import Pipeline
from builder.errors import UsageError
from builder.inflight_batcher import engine, stock
from builder.inflight_batcher.engine import Settings
from builder.planning.models import placed
from builder.planning.placement import Split
from builder.rule import Host
from ensembles import text_generation

NAMES = ("preprocessing", "tensorrt_llm", "postprocessing", "tensorrt_llm_bls", "ensemble")

SAME = [
    "exclude_input_in_output",
    "temperature",
    "repetition_penalty",
    "min_tokens",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "return_log_probs",
    "return_context_logits",
    "return_generation_logits",
    "return_perf_metrics",
    "return_num_input_tokens",
    "return_num_output_tokens",
    "num_return_sequences",
    "beam_width",
    "prompt_embedding_table",
    "prompt_vocab_size",
    "lora_task_id",
    "lora_weights",
    "lora_config",
    "guided_decoding_guide_type",
    "guided_decoding_guide",
]


def pipeline(version: str = "1.2.1") -> Pipeline:
    made = engine.member(Settings(16, version, {"enable_chunked_context": True}))
    return Pipeline("", (made, *text_generation.PIPELINE.members), kind="generation")


def texts(version: str = "1.2.1") -> dict[str, str]:
    models = tuple(placed("chat", one, "cpu", Split()) for one in stock.members(pipeline(version)))
    plan: Any = SimpleNamespace(name="chat", models=models, kind="generation")
    return {model.name: model_config.text(model, plan) for model in models}


def configs(version: str = "1.2.1") -> dict[str, ModelConfig]:
    found = texts(version)
    assert not [name for name, text in found.items() if "${" in text]
    return {name: text_format.Parse(text, ModelConfig()) for name, text in found.items()}


@pytest.mark.parametrize("name", NAMES)
def test_names_and_tensors_are_nvidia_s(name: str) -> None:
    read = configs()
    assert tuple(read) == NAMES
    assert written(read[name].input) == expected(f"{name} inputs")
    assert written(read[name].output) == expected(f"{name} outputs")
    assert read[name].max_batch_size == 16


def test_each_model_is_run_as_nvidia_s() -> None:
    read = configs()
    assert {name: one.backend or one.platform for name, one in read.items()} == {
        "preprocessing": "python",
        "tensorrt_llm": "tensorrtllm",
        "postprocessing": "python",
        "tensorrt_llm_bls": "python",
        "ensemble": "ensemble",
    }
    assert [name for name, one in read.items() if one.model_transaction_policy.decoupled] == [
        "tensorrt_llm",
        "tensorrt_llm_bls",
    ]
    assert [name for name, one in read.items() if one.HasField("dynamic_batching")] == list(NAMES[:3])
    told = {name: value.string_value for name, value in read["tensorrt_llm"].parameters.items()}
    assert told["gpt_model_path"] == "/models/tensorrt_llm/1"
    assert (told["normalize_log_probs"], told["enable_chunked_context"]) == ("true", "true")
    bls = {name: value.string_value for name, value in read["tensorrt_llm_bls"].parameters.items()}
    assert bls == {"accumulate_tokens": "false", "tensorrt_llm_model_name": "tensorrt_llm"}


def test_the_ensemble_is_wired_as_nvidia_s() -> None:
    first, second, third = configs()["ensemble"].ensemble_scheduling.step
    assert [(one.model_name, one.model_version) for one in (first, second, third)] == [
        ("preprocessing", -1),
        ("tensorrt_llm", -1),
        ("postprocessing", -1),
    ]
    assert dict(first.input_map) == {
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
    assert dict(first.output_map) == {
        "REQUEST_INPUT_LEN": "_REQUEST_INPUT_LEN",
        "INPUT_ID": "_INPUT_ID",
        "REQUEST_DECODER_INPUT_LEN": "_REQUEST_DECODER_INPUT_LEN",
        "DECODER_INPUT_ID": "_DECODER_INPUT_ID",
        "REQUEST_OUTPUT_LEN": "_REQUEST_OUTPUT_LEN",
        "STOP_WORDS_IDS": "_STOP_WORDS_IDS",
        "BAD_WORDS_IDS": "_BAD_WORDS_IDS",
        "EMBEDDING_BIAS": "_EMBEDDING_BIAS",
        "OUT_END_ID": "_PREPROCESSOR_END_ID",
        "OUT_PAD_ID": "_PREPROCESSOR_PAD_ID",
        "OUT_PROMPT_TABLE_EXTRA_IDS": "_OUT_PROMPT_TABLE_EXTRA_IDS",
    }
    renamed = {
        "input_ids": "_INPUT_ID",
        "decoder_input_ids": "_DECODER_INPUT_ID",
        "input_lengths": "_REQUEST_INPUT_LEN",
        "decoder_input_lengths": "_REQUEST_DECODER_INPUT_LEN",
        "request_output_len": "_REQUEST_OUTPUT_LEN",
        "end_id": "_PREPROCESSOR_END_ID",
        "pad_id": "_PREPROCESSOR_PAD_ID",
        "embedding_bias": "_EMBEDDING_BIAS",
        "stop_words_list": "_STOP_WORDS_IDS",
        "bad_words_list": "_BAD_WORDS_IDS",
        "prompt_table_extra_ids": "_OUT_PROMPT_TABLE_EXTRA_IDS",
        "runtime_top_k": "top_k",
        "runtime_top_p": "top_p",
        "len_penalty": "length_penalty",
        "streaming": "stream",
    }
    assert dict(second.input_map) == {**renamed, **{name: name for name in SAME}}
    answers = [one[0] for one in expected("ensemble outputs") if one[0] != "text_output"]
    inner = {"output_ids": "_TOKENS_BATCH", "sequence_length": "_SEQUENCE_LENGTH"}
    assert dict(second.output_map) == {**inner, **{name: name for name in answers}}
    assert dict(third.input_map) == {"TOKENS_BATCH": "_TOKENS_BATCH", "SEQUENCE_LENGTH": "_SEQUENCE_LENGTH"}
    assert dict(third.output_map) == {"OUTPUT": "text_output"}


def test_versions_before_0_20_are_wired_by_their_own_names() -> None:
    read = configs("0.18.2")
    step = read["ensemble"].ensemble_scheduling.step[1]
    assert (step.input_map["random_seed"], step.input_map["min_length"]) == ("random_seed", "min_length")
    assert "seed" not in step.input_map and "num_input_tokens" not in step.output_map


def test_the_stock_models_have_no_findings(tmp_path: Path) -> None:
    code = {one.named: one.code for one in stock.members(pipeline()) if one.code}
    for name, text in texts().items():
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(text)
        if name in code:
            shutil.copy(house.folder("backends") / code[name] / "model.py", tmp_path / name / "1")
            shutil.copytree(house.folder("backends"), tmp_path / name / "1" / "backends")
            (tmp_path / name / "1" / "tokenizer").mkdir()
            (tmp_path / name / "1" / "tokenizer" / "tokenizer.json").write_text("{}")
            (tmp_path / name / "1" / "settings.json").write_text("{}")
    (tmp_path / "ensemble" / "1" / ".keep").touch()
    built = '{"version": "1.2.1", "pretrained_config": {"mapping": {"world_size": 1}}, "build_config": {}}'
    (tmp_path / "tensorrt_llm" / "1" / "config.json").write_text(built)
    (tmp_path / "tensorrt_llm" / "1" / "rank0.engine").write_bytes(b"engine")
    assert check(tmp_path, host=Host("26.07", gpus=1, completes=False)) == []


def test_it_is_for_engines_alone_and_for_containers_that_run_them() -> None:
    assert stock.CONTAINERS[-1] == "26.07"
    assert {"25.03", "25.04", "26.08"}.isdisjoint(stock.CONTAINERS)
    with pytest.raises(UsageError, match="tensorrtllm backend"):
        stock.members(text_generation.PIPELINE)
