"""Plans of TensorRT-LLM engines: commands by hand, all of which trtllm-build's grammar takes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_decoders
import trtllm_build
from planning import options, planned, planned_from, subject

from builder import artifact_key
from builder.calibration import texts
from builder.errors import PlanError, UsageError
from builder.inflight_batcher import build_command, tables
from builder.plan import Plan, plan
from builder.planning import memory, placement
from builder.planning.memory import GIB
from builder.target import Job
from builder.targets import tensorrtllm

GPU = "--target tensorrtllm --gpu h100"


def asked(found: Plan) -> dict[str, Any]:
    assert found.compilation is not None
    return vars(trtllm_build.read(list(found.compilation.arguments)))


def parameters(found: Plan) -> dict[str, str]:
    return dict(found.graph.member.parameters)


def test_the_command_by_hand() -> None:
    found = planned("llama-8b", f"{GPU} --tp 2 --concurrency 64 --max-context 4096")
    assert found.compilation is not None
    assert found.compilation.arguments == (
        *("--checkpoint_dir", "checkpoint", "--output_dir", "engine.part"),
        *("--gemm_plugin", "auto", "--kv_cache_type", "paged"),
        *("--max_batch_size", "64", "--max_beam_width", "1", "--max_input_len", "4096"),
        *("--max_num_tokens", "8192", "--max_seq_len", "4096"),
        *("--use_fp8_context_fmha", "disable", "--use_paged_context_fmha", "enable", "--workers", "2"),
        *("--input_timing_cache", "timing.cache", "--output_timing_cache", "timing.cache"),
    )
    assert found.compilation.image == "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
    assert found.compilation.libraries == {"tensorrt_llm": "1.2.1", "tensorrt": "10.14.1.48"}
    assert (found.compilation.compute, found.compilation.ranks) == ("9.0", 2)


def test_the_backend_is_told_what_was_planned() -> None:
    found = planned("llama-8b", f"{GPU} --tp 2 --concurrency 64 --max-context 4096")
    assert [model.name for model in found.models[:2]] == ["llama-8b_engine", "llama-8b_tokenizer"]
    assert found.graph.member.max_batch_size == 64
    assert parameters(found) == {
        "max_beam_width": "1",
        "FORCE_CPU_ONLY_INPUT_TENSORS": "no",
        "gpt_model_type": "inflight_fused_batching",
        "gpt_model_path": "{home}/engine",
        "max_tokens_in_paged_kv_cache": str(64 * 4096),
        "batch_scheduler_policy": "guaranteed_no_evict",
        "kv_cache_free_gpu_mem_fraction": "0.92",
        "enable_kv_cache_reuse": "true",
        "normalize_log_probs": "false",
        "enable_chunked_context": "true",
        "tokenizer_dir": "",
        "guided_decoding_backend": "xgrammar",
        "xgrammar_tokenizer_info_path": "{home}/tokenizer_info.json",
    }
    assert {one.instances.kind for one in found.models if one.instances} == {"KIND_CPU"}


def test_the_front_is_told_of_the_engine_what_it_asks() -> None:
    found = planned("llama-8b", f"{GPU} --set engine.gather_context_logits=true --set engine.guided=false")
    told = tensorrtllm.front_arguments(found.engine_arguments, found.container)
    assert told == {"version": "1.2.1", "vocabulary": 128256, "context_logits": True, "guided": False}
    assert asked(found)["gather_context_logits"] is True
    assert parameters(found)["guided_decoding_backend"] == ""


def test_fp8_by_hand() -> None:
    """70,553,706,496 weights; embedding and head, 128,256 x 8,192 of them each, keep two bytes."""
    found = planned("llama-70b", f"{GPU} --tp 4 --quantize fp8")
    table = 128_256 * 8_192
    assert found.memory.weights == (70_553_706_496 - 2 * table + 2 * 2 * table) // 4
    # 2 x 80 layers x 2 of the 8 heads x 128, a byte each
    assert found.memory.cache_per_token == 2 * 80 * 2 * 128
    told = asked(found)
    assert (told["gemm_plugin"], told["use_fp8_context_fmha"], told["workers"]) == ("disable", "enable", 4)
    assert (told["max_batch_size"], told["max_num_tokens"], told["max_seq_len"]) == (256, 8192, 131072)


@pytest.mark.parametrize(
    ("name", "bits"),
    [("awq", 4.125), ("w4a8_awq", 4.125), ("smoothquant", 8.0), ("w8a16", 8.0), ("w4a16", 4.0)],
    ids=lambda one: str(one),
)
def test_other_quantisations_by_hand(name: str, bits: float) -> None:
    """8,030,261,248 weights, of which embedding and head, 128,256 x 4,096 each, keep two bytes."""
    found = planned("llama-8b", f"{GPU} --max-context 4096 --quantize {name}")
    table = 128_256 * 4_096
    assert found.memory.weights == math.ceil((8_030_261_248 - 2 * table) * bits / 8) + 4 * table
    assert found.memory.cache_per_token == 131_072
    assert (asked(found)["gemm_plugin"], asked(found)["use_fp8_context_fmha"]) == ("auto", "disable")
    if name in ("w8a16", "w4a16"):
        return
    eight = planned("llama-8b", f"{GPU} --max-context 4096 --quantize {name} --kv-cache fp8")
    assert (eight.memory.cache_per_token, eight.cache_type) == (65_536, "fp8")


@pytest.mark.parametrize(
    ("line", "precision", "words"),
    [
        ("", "F32", "tensorrt_llm --tp 2 --pp 1 --ep 1 --dtype bf16"),
        ("--quantize fp8", "F16", "tensorrt_llm_quantised --method fp8 --kv-cache fp8 --tp 2 --pp 1 --ep 1"),
        ("--quantize w8a16", "F32", "tensorrt_llm --tp 2 --pp 1 --ep 1 --dtype bf16 --rounding W8A16"),
        ("--quantize w4a16", "F16", "tensorrt_llm --tp 2 --pp 1 --ep 1 --rounding W4A16"),
        ("--quantize awq", "F32", "tensorrt_llm_quantised --method awq --tp 2 --pp 1 --ep 1 --dtype bf16"),
        (
            "--quantize smoothquant --kv-cache fp8 --max-context 8192",
            "F16",
            "tensorrt_llm_quantised --method smoothquant --kv-cache fp8 --tp 2 --pp 1 --ep 1",
        ),
    ],
)
def test_the_converter_s_command(tmp_path: Path, line: str, precision: str, words: str) -> None:
    told = tiny_decoders.config("llama")
    kind = {"F32": np.float32, "F16": np.float16}[precision]
    weights = {name: one.astype(kind) for name, one in tiny_decoders.weights(told).items()}
    tiny_decoders.write(tmp_path / "source", told, weights)
    found = planned("llama-8b", f"{GPU} --tp 2 {line}")
    job = Job(
        checkpoint=tmp_path / "source", exporter="", pipeline="", main="", quantization=found.quantize,
        arguments=found.converter_arguments, device="gpu", accelerators=(), runtime="", image=(0, 0, 0),
        settings={},
        out=tmp_path / "out", split=found.split, cache_type=found.cache_type,
    )  # fmt: skip
    command = tensorrtllm.convert(job)
    assert command[1] == "-m" and command[3:5] == [str(tmp_path / "source"), str(tmp_path / "out/checkpoint")]
    told = [command[2].removeprefix("builder.exporting."), *command[5:]]
    told.remove("--parallel-embedding")
    assert told == [*words.split(), "--percents"]


def test_texts_decide_the_artifact_by_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "--target tensorrtllm --gpu h100 --quantize"
    for name in ("mine", "copy", "other"):
        text = "other" if name == "other" else "mine"
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": text}))

    def digest(more: str) -> str | None:
        found: str | None = artifact_key.identity(planned("llama-8b", f"{line} {more}"), {}).get(
            "calibration"
        )
        return found

    monkeypatch.chdir(tmp_path)
    shipped = digest("fp8")
    mine, copy, other = (digest(f"fp8 --calibration {one}.jsonl") for one in ("mine", "copy", "other"))
    assert mine == copy and len({shipped, mine, other, None}) == 4
    assert shipped == hashlib.sha256(texts.SHIPPED.read_bytes()).hexdigest()
    assert digest("bf16") is None


def test_a_tied_head_takes_its_place_beside_the_embedding() -> None:
    """The converter writes both."""
    model = subject("llama-8b")
    tied = dataclasses.replace(
        model,
        dimensions=dataclasses.replace(model.dimensions, tied_embeddings=True),  # type: ignore[type-var]
    )
    found = plan(tied, options(f"{GPU} --max-context 4096"))
    assert found.memory.weights == planned("llama-8b", f"{GPU} --max-context 4096").memory.weights
    assert plan(tied, options("--target vllm --gpu h100")).memory.weights < found.memory.weights


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("--concurrency 1 --max-context 512", 512),
        ("--concurrency 4 --max-context 4096", 8192),
        ("--concurrency 10000 --max-context 16", 10000),
    ],
)
def test_a_step_takes_no_more_tokens_than_there_can_be(line: str, tokens: int) -> None:
    assert asked(planned("llama-8b", f"{GPU} {line}"))["max_num_tokens"] == tokens


def test_a_window_is_told_to_the_backend() -> None:
    model = subject("mistral-7b")
    sizes = dataclasses.replace(model.dimensions, sliding_window=4096)  # type: ignore[type-var]
    config = {**model.config, "sliding_window": 4096}
    windowed = dataclasses.replace(model, dimensions=sizes, config=config)
    found = plan(windowed, options(GPU))
    assert parameters(found)["max_attention_window_size"] == "4096"
    shorter = plan(windowed, options(f"{GPU} --max-context 4096"))
    assert "max_attention_window_size" not in parameters(shorter)


WINDOWS = {
    "llama": {},
    "mistral": {"sliding_window": 16},
    "qwen2": {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
}


def tiny(folder: Path, family: str) -> Path:
    told = tiny_decoders.config(family, **WINDOWS[family])
    return tiny_decoders.write(folder / family, told, tiny_decoders.weights(told))


@pytest.mark.parametrize(
    ("family", "line", "told"),
    [
        ("llama", "", None),
        ("mistral", "", "16"),
        ("qwen2", "", "64,16"),
        ("qwen2", "--max-context 16", None),
        ("qwen2", "--set engine.max_attention_window_size=[64,16]", "64,16"),
        ("mistral", "--set engine.max_attention_window_size=[16]", "16"),
        ("llama", "--set engine.max_attention_window_size=[64]", "64"),
        ("llama", "--max-context 32 --set engine.max_attention_window_size=[32]", "32"),
    ],
)
def test_the_windows_of_each_layer_are_told(tmp_path: Path, family: str, line: str, told: str | None) -> None:
    found = parameters(planned_from(tiny(tmp_path, family), f"{GPU} {line}"))
    assert found.get("max_attention_window_size") == told


@pytest.mark.parametrize(
    ("family", "windows", "words"),
    [
        ("llama", "[16]", ["is [16]", "every layer sees all 64 tokens", "leave", "--max-context"]),
        ("mistral", "[64]", ["is [64]", "layers see [16] tokens back", "leave"]),
        ("mistral", "[8]", ["is [8]", "expected: [16]"]),
        ("qwen2", "[16]", ["is [16]", "layers see [64, 16] tokens back"]),
        ("qwen2", "[16,64]", ["is [16, 64]", "[64, 16]"]),
        ("llama", "[64,64,64]", ["3 numbers for 2 layers"]),
    ],
)
def test_windows_that_the_model_has_not_are_refused(
    tmp_path: Path, family: str, windows: str, words: list[str]
) -> None:
    folder = tiny(tmp_path, family)
    with pytest.raises(UsageError) as refused:
        planned_from(folder, f"{GPU} --set engine.max_attention_window_size={windows}")
    assert all(word in str(refused.value) for word in words), refused.value


LOOKAHEAD = (
    "--max-context 4096 --set engine.decoding_mode=lookahead --set engine.lookahead_window_size=7 "
    "--set engine.lookahead_ngram_size=7 --set engine.lookahead_verification_set_size=7"
)


def test_lookahead_by_hand() -> None:
    """(7 - 1 + 7) x (7 - 1) + 7 - 2 = 83 tokens are checked beside the one that is certain."""
    found = planned("llama-8b", f"{GPU} --concurrency 16 {LOOKAHEAD}")
    told = asked(found)
    assert (told["speculative_decoding_mode"], told["max_draft_len"]) == ("lookahead_decoding", 83)
    assert parameters(found)["decoding_mode"] == "lookahead"
    assert parameters(found)["lookahead_window_size"] == "7"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"--concurrency 100 {LOOKAHEAD}", ["max_num_tokens is 8192", "at least 8400", "--concurrency"]),
        (
            f"--concurrency 4 {LOOKAHEAD} --set engine.gather_context_logits=true",
            ["gather_context_logits", "one of them"],
        ),
        ("--set engine.decoding_mode=lookahead", ["decoding_mode is lookahead", "lookahead_window_size"]),
        ("--set engine.decoding_mode=medusa", ["one of top_k"]),
        ("--set engine.kv_cache_free_gpu_mem_fraction=0.5", ["use --concurrency and --max-context"]),
        ("--set engine.max_tokens_in_paged_kv_cache=10", ["use --concurrency and --max-context"]),
        ("--set engine.use_fp8_context_fmha=enable", ["the model is bf16, and its cache not FP8", "leave"]),
        (
            "--quantize awq --kv-cache fp8 --set engine.use_fp8_context_fmha=enable",
            ["the model is awq", "w4a8_awq with --kv-cache fp8"],
        ),
        ("--quantize w4a8_awq --set engine.use_fp8_context_fmha=enable", ["w4a8_awq, and its cache not FP8"]),
        ("--set engine.gemm_plugin=fp8", ["weights are bf16", "--quantize fp8", "leave"]),
        ("--set engine.gemm_swiglu_plugin=fp8", ["engine.gemm_swiglu_plugin=fp8: weights are bf16"]),
        ("--quantize awq --set engine.low_latency_gemm_plugin=fp8", ["weights are awq"]),
        ("--set engine.tokens_per_block=3", ["tokens_per_block is 3", "a power of 2"]),
        ("--set engine.gpu_device_ids=abc", ["gpu_device_ids is 'abc'", "one number of GPUs"]),
        ("--tp 2 --set engine.gpu_device_ids=5", ["gpu_device_ids is '5'", "2 different numbers"]),
        ("--tp 2 --set engine.gpu_device_ids=0,0", ["gpu_device_ids is '0,0'", "2 different numbers"]),
        ("--tp 2 --set engine.gpu_device_ids=0,", ["gpu_device_ids is '0,'", "2 different numbers"]),
        ("--tp 2 --contract nvidia --set engine.gpu_device_ids=5", ["gpu_device_ids is '5'"]),
        ("--set engine.medusa_choices=[[0]]", ["is refused", "no heads that draft"]),
        ("--set engine.speculative_decoding_mode=lookahead_decoding", ["engine.decoding_mode=lookahead"]),
        ("--set engine.max_draft_len=4", ["both, or neither"]),
        (
            "--max-context 8192 --set engine.use_paged_context_fmha=disable",
            ["enable_kv_cache_reuse and enable_chunked_context"],
        ),
        ("--quantize fp8 --set engine.use_fp8_context_fmha=disable", ["beside an FP8 cache", "leave both"]),
        (
            "--quantize awq --kv-cache fp8",
            ["up to 131072 tokens and a step 8192", "--max-context 8192", "engine.max_num_tokens=131072"],
        ),
        ("--set engine.max_input_len=200000", ["max_input_len is 200000", "131072"]),
        ("--set engine.max_batch_size=4", ["use --concurrency"]),
        ("--set engine.max_attention_window_size=true", ["in brackets, such as [4096] or"]),
        ("--set engine.max_attention_window_size=128", ["in brackets, such as [4096] or", "each > 0"]),
        ("--set engine.max_attention_window_size=abc", ["in brackets, such as [4096] or"]),
        ("--set engine.max_attention_window_size=[]", ["in brackets, such as [4096] or"]),
        ("--set engine.max_attention_window_size=[-1]", ["each > 0"]),
        ("--set engine.max_attention_window_size=[64,0]", ["each > 0"]),
        ("--set engine.gpt_model_path=/engines", ["lies in the model's version folder"]),
        ("--set engine.gemm_plugn=auto", ["engine.gemm_plugin"]),
        ("--kv-cache fp8", ["--kv-cache fp8: its scales are measured", "bf16 measures", "--quantize fp8"]),
        ("--quantize w8a16 --kv-cache fp8", ["its scales are measured", "w8a16 measures none"]),
        (
            "--calibration texts.jsonl",
            ["bf16 measures no scales", "awq or fp8 or gptq or smoothquant or w4a8_awq"],
        ),
        ("--quantize fp8 --calibration nowhere.jsonl", ["--calibration nowhere.jsonl", "JSON lines"]),
        ("--lora a=b", ["b holds no adapter_config.json"]),
        ("--quantize int4", ["does not serve --quantize int4", "awq, bf16, fp16, fp8"]),
    ],
)
def test_what_does_not_go_together_is_refused(line: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        planned("llama-8b", f"{GPU} {line}")
    assert all(word in str(refused.value) for word in words), refused.value


def test_gpus_and_blocks_of_one_s_own() -> None:
    found = planned(
        "llama-8b", f"{GPU} --tp 2 --set engine.gpu_device_ids=3,1 --set engine.tokens_per_block=64"
    )
    assert parameters(found)["gpu_device_ids"] == "3,1"
    assert asked(found)["tokens_per_block"] == 64


def test_tokens_of_a_draft_of_one_s_own() -> None:
    more = "--set engine.speculative_decoding_mode=draft_tokens_external --set engine.max_draft_len=5"
    told = asked(planned("llama-8b", f"{GPU} --concurrency 16 --max-context 4096 {more}"))
    assert (told["speculative_decoding_mode"], told["max_draft_len"]) == ("draft_tokens_external", 5)


def test_every_setting_is_one_that_the_command_or_the_backend_takes() -> None:
    kinds = build_command.kinds()
    assert set(kinds["backend"]) < set(tables.parameters()) and "max_beam_width" in tables.parameters()
    every = {*trtllm_build.NUMBERS, *trtllm_build.WORDS, *trtllm_build.SWITCHES, "lora_target_modules"}
    assert {name for name, kind in kinds["build"].items() if not kind.startswith("no: ")} < every
    told = planned("llama-8b", GPU).engine_arguments
    assert set(told) - set(tensorrtllm.SETTABLE) == {"vocabulary"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--target tensorrtllm", ["tensorrtllm runs nothing on a CPU; no GPU was named", "--gpu GPU"]),
        ("--target tensorrtllm --gpu t4 --tp 4 --quantize fp16", ["compute capability 7.5", "from 8.0 on"]),
        (
            "--target tensorrtllm --gpu t4 --tp 4 --quantize fp16 --contract nvidia",
            ["capability 7.5", "8.0 on"],
        ),
        ("--target tensorrtllm --gpu a100-80 --quantize fp8", ["computes fp8 from 8.9 on"]),
        (
            "--target tensorrtllm --gpu a100-80 --quantize awq --kv-cache fp8 --max-context 8192",
            ["computes fp8 from 8.9 on"],
        ),
        ("--target tensorrtllm --gpu a100-80 --quantize w4a8_awq", ["computes w4a8_awq from 8.9 on"]),
        (f"{GPU} --triton 26.08", ["--triton 26.08", "use `--triton 26.07`, or `--target llmapi`"]),
        (f"{GPU} --triton 26.08 --contract nvidia", ["`--triton 26.07`, or `--target llmapi`"]),
        (f"{GPU} --triton 25.08", ["holds TensorRT-LLM 0.21.0"]),
    ],
)
def test_where_there_are_no_engines(line: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        planned("llama-8b", line)
    assert all(word in str(refused.value) for word in words), refused.value


def test_what_cannot_be_divided_is_refused_with_the_numbers() -> None:
    with pytest.raises(PlanError, match="--tp 3 does not divide the 32 attention heads"):
        planned("llama-8b", f"{GPU} --tp 3")
    with pytest.raises(PlanError, match="--pp 5 does not divide the 32 layers"):
        planned("llama-8b", f"{GPU} --pp 5")


@pytest.mark.parametrize(
    ("line", "attention"),
    [("fp8", "enable"), ("w4a8_awq", "disable"), ("w4a8_awq --kv-cache fp8", "enable"), ("awq", "disable")],
)
def test_attention_is_in_float8_where_the_cache_is(line: str, attention: str) -> None:
    """As trtllm-build would have it in any case (1.2, builder.py)."""
    found = planned("llama-8b", f"{GPU} --max-context 4096 --quantize {line}")
    assert asked(found)["use_fp8_context_fmha"] == attention


@pytest.mark.parametrize(
    ("line", "parts"),
    [("fp8", True), ("w4a8_awq --kv-cache fp8", True), ("awq --kv-cache fp8", False), ("awq", True)],
)
def test_prompts_are_read_in_parts_where_trtllm_build_keeps_that(line: str, parts: bool) -> None:
    """Pages of FP8 are read by attention in FP8 alone (1.2, builder.py)."""
    told = planned("llama-8b", f"{GPU} --max-context 8192 --quantize {line}").engine_arguments
    assert told["use_paged_context_fmha"] == ("enable" if parts else "disable")
    assert told["enable_kv_cache_reuse"] is told["enable_chunked_context"] is parts
    assert told["max_num_tokens"] == 8192


def test_the_cache_fits_beside_the_weights() -> None:
    found = planned("llama-8b", GPU)
    card = placement.gpu("h100")
    assert found.memory.used <= card.memory * memory.USABLE < found.memory.used + GIB
    assert found.engine_arguments["max_tokens_in_paged_kv_cache"] == found.memory.tokens


def test_groups_that_do_not_divide_are_refused_before_anything_is_measured() -> None:
    with pytest.raises(PlanError, match="layers have 576 inputs on each GPU, which groups of 128") as refused:
        planned("smollm2", f"{GPU} --quantize awq")
    assert refused.value.remedy == "use --quantize fp8"


def test_groups_that_gpus_cut_are_refused() -> None:
    """Of 13,824 inputs, 108 groups of 128, eight GPUs have 1,728 each, 13 groups and a half."""
    model = subject("llama-8b")
    sizes = dataclasses.replace(model.dimensions, intermediate_size=13_824)  # type: ignore[type-var]
    changed = dataclasses.replace(model, dimensions=sizes)
    assert plan(changed, options(f"{GPU} --tp 4 --quantize w4a8_awq")).quantize == "w4a8_awq"
    with pytest.raises(PlanError, match="llama-8b: feed-forward outputs have 1,728 inputs") as refused:
        plan(changed, options(f"{GPU} --tp 8 --quantize w4a8_awq"))
    assert refused.value.remedy == "use --tp 4, or --quantize fp8"
