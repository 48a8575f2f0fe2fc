"""What a plan decides, what it refuses as misuse, and what it does not load."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest
from planning import planned

from builder import house
from builder.errors import UsageError

NAMED = {
    "--target tensorflow": ["--target 'tensorflow' does not exist", "onnx", "vllm"],
    "--quantize int5": ["--quantize 'int5' does not exist", "int4", "int8", "fp32", "bf16", "fp16"],
    "--gpu h300": ["--gpu 'h300' is not in the table", "h200", "a100-40", "t4"],
    "--triton 99.99": ["--triton '99.99' is not in the table", "24.10", "26.08"],
    "--max-context 0": ["--max-context 0", "1 to 131072 tokens"],
    "--max-context 131073": ["--max-context 131073", "1 to 131072 tokens"],
    "--max-context -5": ["--max-context -5", "1 to 131072 tokens"],
    "--concurrency 0": ["--concurrency 0", "at least 1"],
    "--concurrency -1 --gpu h200": ["--concurrency -1", "at least 1"],
}


@pytest.mark.parametrize("line", NAMED)
def test_misuse_names_the_choices(line):
    with pytest.raises(UsageError) as caught:
        planned("llama-8b", line)
    assert caught.value.exit_code == 2
    for word in NAMED[line]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "--quantize fp16",
            [
                "builds, then fails at its first run on a CPU",
                "choose one of awq, fp32, gptq, int4, int4_g64, int8",
            ],
        ),
        (
            "--quantize bf16",
            [
                "builds, then fails at its first run on a CPU",
                "choose one of awq, fp32, gptq, int4, int4_g64, int8",
            ],
        ),
        (
            "--quantize int4 --gpu h200",
            ["does not serve --quantize int4 on a GPU", "choose one of bf16, fp16"],
        ),
        ("--quantize fp32 --gpu h200", ["half the memory", "choose one of bf16, fp16"]),
        ("--quantize int4 --gpu h200 --target vllm", ["choose one of awq, bf16, fp16"]),
        ("--target vllm", ["on a CPU", "name a GPU with --gpu"]),
        ("--quantize bf16 --gpu t4", ["NVIDIA T4 16 GB has no bfloat16", "--quantize fp16"]),
    ],
)
def test_what_does_not_combine(line, words):
    with pytest.raises(UsageError) as caught:
        planned("llama-8b", line)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "line", "target", "quantize"),
    [
        ("llama-8b", "", "onnx", "int4"),
        ("llama-8b", "--gpu h200", "vllm", "bf16"),
        ("llama-8b", "--gpu h200 --tp 2", "vllm", "bf16"),
        ("llama-8b", "--gpu h200 --pp 2", "vllm", "bf16"),
        ("llama-8b", "--gpu t4 --tp 2 --max-context 2048", "vllm", "fp16"),
        ("smollm2", "", "onnx", "int4"),
        ("smollm2", "--gpu h200", "vllm", "bf16"),
        ("smollm2", "--gpu t4", "vllm", "fp16"),
    ],
)
def test_what_is_left_to_the_plan(name, line, target, quantize):
    found = planned(name, line)
    assert (found.target, found.quantize) == (target, quantize)


def test_the_recipe_chooses_the_precision_of_a_cpu(tmp_path):
    from builder.plan import Options, plan
    from builder.recipe import load
    from builder.subjects import read

    mine = tmp_path / "mine.toml"
    text = load("smollm2").path.read_text().replace('quantize = "int4"', 'quantize = "int8"')
    mine.write_text(text.replace("package:", "package:absent_"))
    assert plan(read(str(mine), None, None)[0], Options()).quantize == "int8"


@pytest.mark.parametrize(
    ("line", "front"),
    [
        ("", ("KIND_CPU", 1, ())),
        ("--gpu h200", ("KIND_GPU", 1, (0,))),
        ("--gpu h200 --tp 4", ("KIND_MODEL", 1, ())),
    ],
)
def test_instances(line, front):
    found = planned("llama-8b", line)
    kinds = {model.member.suffix: model.instances for model in found.models}
    assert (kinds[""].kind, kinds[""].count, kinds[""].gpus) == front
    assert kinds["_tokenizer"].kind == kinds["_detokenizer"].kind == "KIND_CPU"
    assert kinds["_ensemble"] is None


def test_parts_are_planned_before_what_uses_them():
    names = [model.name for model in planned("smollm2").models]
    assert names == ["smollm2_tokenizer", "smollm2_detokenizer", "smollm2", "smollm2_ensemble"]


def test_the_plan_as_json_is_whole_and_repeatable():
    found = json.dumps(planned("llama-8b", "--gpu h200").to_json(), sort_keys=True)
    assert found == json.dumps(planned("llama-8b", "--gpu h200").to_json(), sort_keys=True)
    plain = json.loads(found)
    assert plain["memory"]["cache_per_token"] == 131_072
    assert all(model["why"] for model in plain["models"])
    front = plain["models"][2]
    assert {
        "name": "stop_words",
        "data_type": "STRING",
        "dims": [-1],
        "optional": True,
        "ragged": False,
    } in front["inputs"]
    assert front["instances"] == {"kind": "KIND_GPU", "count": 1, "gpus": [0]}


HEAVY = (
    "torch", "transformers", "onnxruntime", "onnxruntime_genai", "onnx", "tritonclient", "numpy", "grpc",
    "gguf", "sklearn", "xgboost", "lightgbm", "tokenizers",
)  # fmt: skip
SCRIPT = """
import socket, sys
def refuse(*arguments):
    raise AssertionError("plan must not use the network")
socket.socket.connect = refuse
from builder import cli
try:
    cli.main(sys.argv[1:], standalone_mode=False)
finally:
    print("LOADED", *sorted({name.split(".")[0] for name in sys.modules}), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("llama-8b", "--gpu", "h200"),
        ("llama-8b", "--gpu", "a10", "--tp", "3"),
        ("smollm2",),
        ("smollm2", "--json"),
        ("minilm",),
        ("minilm", "--tp", "2"),
        ("bge-small", "--gpu", "h200", "--quantize", "fp16"),
        ("distilbert-sst2", "--json"),
        ("iris",),
        ("vit-base", "--gpu", "t4", "--accelerate", "tensorrt"),
    ],
)
def test_planning_loads_nothing_heavy_and_stays_offline(arguments):
    command = [sys.executable, "-c", SCRIPT, "plan", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    loaded = done.stderr.rpartition("LOADED ")[2].split()
    assert "builder" in loaded, done.stderr
    assert not set(HEAVY) & set(loaded)
    assert "AssertionError" not in done.stderr


@pytest.mark.parametrize(
    "name", ["../outside", "a/b", "", ".", "..", ".hidden", "two words", "a\nb", "-x", "ü"]
)
def test_names_that_are_no_folders(name):
    from builder.plan import Options, plan
    from builder.subjects import read

    with pytest.raises(UsageError, match="cannot name a model"):
        plan(dataclasses.replace(read("llama-8b", None, None)[0], name=name), Options())


def test_where_cache_is_taken_as_answers_grow_more_run_at_once_than_fit_at_full_length():
    paged = planned("llama-8b", "--gpu h200 --target vllm")
    # 918,048 tokens of cache: 7 sequences of 131,072 tokens, 1,793 of 512
    assert (paged.memory.sequences, paged.concurrency) == (7, 256)
    assert paged.engine_arguments["max_num_seqs"] == 256
    small = planned("llama-8b", "--gpu a10 --target vllm --max-context 8192")
    assert small.memory.sequences < small.concurrency == small.memory.tokens // 512
    assert planned("llama-8b", "--gpu h200 --target vllm --concurrency 3").concurrency == 3
    assert planned("llama-8b", "--gpu h200 --target onnx").concurrency == 7


def test_the_engine_is_told_what_was_planned_and_what_was_set():
    line = "--gpu h200 --target vllm --tp 2 --concurrency 64 --max-context 4096"
    sets = (
        "--set engine.max_num_batched_tokens=4096 --set engine.enforce_eager=true "
        """--set 'engine.speculative_config={"method":"ngram"}' --set engine.attention_backend=FLASHINFER"""
    )
    told = planned("llama-8b", line).engine_arguments
    assert (told["max_model_len"], told["max_num_seqs"], told["tensor_parallel_size"]) == (4096, 64, 2)
    # 2 x 32 layers x 4 of 8 KV heads x 128 x 2 bytes, 64 times 4096 tokens
    assert told["kv_cache_memory_bytes"] == 2 * 32 * 4 * 128 * 2 * 64 * 4096
    changed = planned("llama-8b", f"{line} {sets}").engine_arguments
    assert changed == {
        **told,
        "max_num_batched_tokens": 4096,
        "enforce_eager": True,
        "speculative_config": {"method": "ngram"},
        "attention_backend": "FLASHINFER",
    }


def test_a_step_is_smaller_where_less_memory_is_left_for_it():
    for gpu, tokens in (("h200", 8192), ("h100", 8192), ("l40s", 2048), ("a10", 2048)):
        told = planned("llama-8b", f"--gpu {gpu} --target vllm --max-context 4096").engine_arguments
        assert told["max_num_batched_tokens"] == tokens


def test_vllm_wants_no_more_of_a_gpu_than_is_planned():
    full = planned("llama-8b", "--gpu h200 --target vllm")
    assert full.engine_arguments["gpu_memory_utilization"] == 0.92
    shared = planned("llama-8b", "--gpu h200 --target vllm --concurrency 8 --max-context 8192")
    # 15 GiB of weights, 1.5 of runtime, 8 GiB of cache, of 139.7
    assert shared.engine_arguments["gpu_memory_utilization"] == 0.18


def test_settings_at_their_bounds_and_of_known_words_are_told():
    line = (
        "--gpu h200 --target vllm --set engine.gpu_memory_utilization=1 --set engine.scheduling_policy=fcfs"
    )
    told = planned("llama-8b", f"{line} --set engine.max_num_partial_prefills=1").engine_arguments
    assert (told["gpu_memory_utilization"], told["scheduling_policy"]) == (1.0, "fcfs")
    assert told["max_num_partial_prefills"] == 1


@pytest.mark.parametrize("target", ["vllm", "llmapi", "tensorrtllm"])
def test_every_kind_of_setting_is_one_that_can_be_read(target):
    kinds = set(house.plugin("targets", target, option="--target").SETTABLE.values())
    numbers = re.compile(r"(ints?|float)((>=?\d+)?(<=?\d+)?)|object\??(: \w+( \w+)*)?|instead of \w+")
    words = re.compile(r"\w+(\|\w+)+")
    plain = {"bool", "string", "json"}
    assert [
        kind
        for kind in kinds - plain
        if not (kind.startswith(("--", "no: ")) or numbers.fullmatch(kind) or words.fullmatch(kind))
    ] == []


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("engine.enforce_egger=true", ["'enforce_egger'", "engine.enforce_eager"]),
        ("enforce_eager=true", ["engine.NAME=VALUE"]),
        ("engine.enforce_eager", ["engine.NAME=VALUE"]),
        ("engine.enforce_eager=yes", ["true or false"]),
        ("engine.max_num_batched_tokens=many", ["a whole number"]),
        ("engine.gpu_memory_utilization=much", ["a number"]),
        ("engine.gpu_memory_utilization=nan", ["a number"]),
        ("engine.additional_config=[Infinity]", ["JSON"]),
        pytest.param(f"engine.additional_config={'[' * 100_000}", ["JSON"], id="deep"),
        ("engine.trust_remote_code=true", ["'trust_remote_code'", "names, such as engine.additional_config"]),
        ("engine.speculative_config={", ["JSON"]),
        ("engine.max_model_len=4096", ["use --max-context"]),
        ("engine.tensor_parallel_size=2", ["use --tp"]),
        ("engine.kv_cache_memory_bytes=1", ["--concurrency and --max-context, which decide it"]),
        ("engine.data_parallel_size=2", ["is refused", "--tp times --pp GPUs"]),
        ("engine.gpu_memory_utilization=0", ["a number > 0 and <= 1"]),
        ("engine.gpu_memory_utilization=1.01", ["a number > 0 and <= 1"]),
        ("engine.max_num_batched_tokens=0", ["a whole number >= 1"]),
        ("engine.video_pruning_rate=1", ["a number >= 0 and < 1"]),
        ("engine.scheduling_policy=lifo", ["one of fcfs, priority"]),
    ],
)
def test_a_setting_that_the_engine_does_not_take(setting, words):
    with pytest.raises(UsageError) as caught:
        planned("llama-8b", f"--gpu h200 --target vllm --set {setting}")
    for word in words:
        assert word in str(caught.value)


def test_a_target_without_settings_says_so():
    with pytest.raises(UsageError, match="no --set for this target"):
        planned("iris", "--set engine.threads=2")
