"""Groups of GPUs that share out the experts of a mixture: who takes them, what they take, in numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_decoders
from planning import options

from builder import artifact_key
from builder.errors import BuilderError, PlanError, UsageError
from builder.plan import Plan, Subject, plan
from builder.planning.placement import Split, obstacle
from builder.subjects import read

# https://huggingface.co/mistralai/Mixtral-8x7B-Instruct-v0.1
RECIPE = """
description = "Mixtral 8x7B Instruct"
licence = "Apache-2.0"
checkpoint = "mistralai/Mixtral-8x7B-Instruct-v0.1"
chat = true
[defaults]
target = "vllm"
precision = "bf16"
[config]
model_type = "mixtral"
vocab_size = 32000
hidden_size = 4096
intermediate_size = 14336
num_hidden_layers = 32
num_attention_heads = 32
num_key_value_heads = 8
max_position_embeddings = 32768
rms_norm_eps = 1e-5
rope_theta = 1000000.0
sliding_window = "null"
tie_word_embeddings = false
num_local_experts = 8
num_experts_per_tok = 2
"""
GPUS = "--target tensorrtllm --gpu h100"


@pytest.fixture(scope="module")
def mixtral(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    path = tmp_path_factory.mktemp("recipe") / "mixtral.toml"
    path.write_text(RECIPE)
    return read(str(path), None, None)[0]


def planned(subject: Subject, line: str) -> Plan:
    return plan(subject, options(line))


def test_memory_by_hand(mixtral: Subject) -> None:
    """46,702,792,704 weights of 2 bytes over 4 GPUs; each has 4 of the 8 experts, and half of each."""
    found = planned(mixtral, f"{GPUS} --tp 4 --ep 2")
    assert (found.split, found.split.gpus, found.split.expert_tensor) == (Split(4, 1, 2), 4, 2)
    assert found.memory.weights == 46_702_792_704 * 2 // 4
    experts = 32 * 4 * 3 * 4_096 * (14_336 // 2) * 2
    assert experts == 32 * 8 * 3 * 4_096 * 14_336 * 2 // 4
    # 2 x 32 layers x 2 of the 8 heads x 128 x 2 bytes: attention is shared by all four
    assert found.memory.cache_per_token == 32_768
    assert found.memory == planned(mixtral, f"{GPUS} --tp 4").memory


def test_the_engine_has_as_many_ranks_as_without(mixtral: Subject) -> None:
    """trtllm-build reads the groups in the checkpoint: no flag of its own tells it."""
    found, without = (planned(mixtral, f"{GPUS} --tp 4 --pp 2{more}") for more in (" --ep 4", ""))
    assert found.compilation is not None and found.compilation == without.compilation
    assert found.compilation.ranks == 8
    assert "--workers 8" in " ".join(found.compilation.arguments)


def test_it_is_in_the_manifest_and_decides_the_artifact(mixtral: Subject) -> None:
    found, without = (planned(mixtral, f"{GPUS} --tp 4{more}") for more in (" --ep 2", ""))
    assert found.to_json()["split"] == {"tensor": 4, "pipeline": 1, "experts": 2}
    assert without.to_json()["split"] == {"tensor": 4, "pipeline": 1}
    assert artifact_key.identity(found, {})["split"] == [4, 1, 2]
    assert artifact_key.identity(without, {})["split"] == [4, 1]


@pytest.mark.parametrize(
    ("line", "words", "choice"),
    [
        ("--tp 4 --ep 3", "--ep 3 does not divide the 4 ranks of --tp 4", "--gpu h100 --tp 4 --ep 2"),
        ("--tp 2 --ep 4", "--ep 4 does not divide the 2 ranks of --tp 2", "--gpu h100 --tp 2 --ep 2"),
        ("--tp 1 --ep 2", "--ep 2 does not divide the 1 rank of --tp 1", "--gpu h100 --tp 2"),
    ],
)
def test_what_does_not_divide_is_refused_with_what_does(
    mixtral: Subject, line: str, words: str, choice: str
) -> None:
    with pytest.raises(PlanError) as refused:
        planned(mixtral, f"{GPUS} {line}")
    assert words in refused.value.found
    assert refused.value.remedy.startswith(f"use `{choice}`")
    assert planned(mixtral, f"{GPUS} {line} {choice}").split.gpus


def test_groups_that_experts_do_not_divide_into(mixtral: Subject) -> None:
    six = replace(mixtral, dimensions=replace(mixtral.dimensions, experts=6))  # type: ignore[type-var]
    with pytest.raises(PlanError) as refused:
        planned(six, f"{GPUS} --tp 4 --ep 4")
    assert "--ep 4 does not divide the 6 experts" in refused.value.found
    assert refused.value.remedy.startswith("use `--gpu h100 --tp 4 --ep 2`")
    assert obstacle(six.dimensions, Split(4, 1, 2)) is None  # type: ignore[arg-type]


def test_an_expert_is_split_over_its_group_alone(mixtral: Subject) -> None:
    """14,340 / 8 is none, 14,340 / 4 is 3,585."""
    odd = replace(mixtral, dimensions=replace(mixtral.dimensions, intermediate_size=14_340))  # type: ignore[type-var]
    with pytest.raises(PlanError, match="over 8 ranks, which do not divide its intermediate size of 14340"):
        planned(odd, f"{GPUS} --tp 8")
    assert planned(odd, f"{GPUS} --tp 8 --ep 2").split.expert_tensor == 4


@pytest.mark.parametrize(
    ("line", "expected", "remedy"),
    [
        (f"{GPUS} --tp 2 --ep 0", "--ep 0", ""),
        (
            "--target vllm --gpu h100 --tp 2 --ep 2",
            "target vllm does not take it",
            "leave --ep out and pass '--set=engine.enable_expert_parallel=true'",
        ),
        (
            "--target llmapi --gpu h100 --tp 2 --ep 2",
            "target llmapi does not take it",
            "leave --ep out and pass '--set=engine.moe_expert_parallel_size=2'",
        ),
    ],
)
def test_who_does_not_take_it_names_what_it_takes(
    mixtral: Subject, line: str, expected: str, remedy: str
) -> None:
    with pytest.raises(UsageError) as refused:
        planned(mixtral, line)
    assert expected in refused.value.found and refused.value.remedy == remedy
    if not remedy:
        return
    assert refused.value.expected == "--target tensorrtllm --gpu GPU"
    setting = remedy.split("'")[1].removeprefix("--set=")
    told = planned(mixtral, f"{line} --ep 1 --set {setting}").engine_arguments
    assert told[setting.removeprefix("engine.").partition("=")[0]] in (True, 2)


@pytest.mark.parametrize("target", ["tensorrtllm", "vllm", "onnx"])
def test_a_dense_model_has_no_experts(target: str, tmp_path: Path) -> None:
    tiny_decoders.write(
        tmp_path / "source", told := tiny_decoders.config("llama"), tiny_decoders.weights(told)
    )
    subject = read("tiny", str(tmp_path / "source"), None)[0]
    with pytest.raises(UsageError, match="--ep 2: tiny, a llama, has no experts"):
        planned(subject, f"--target {target} --gpu h100 --tp 2 --ep 2")


def test_nor_has_one_that_answers_in_one_pass() -> None:
    with pytest.raises(UsageError, match="--ep 2: minilm, a bert, has no experts"):
        planned(read("minilm", None, None)[0], "--ep 2")


def test_a_width_that_ranks_do_not_divide_is_refused_by_the_plan_too(tmp_path: Path) -> None:
    """The converter refuses it by the same rule, in the same words."""
    told = tiny_decoders.config("llama", intermediate_size=49)
    tiny_decoders.write(tmp_path / "source", told, tiny_decoders.weights(told))
    subject = read("tiny", str(tmp_path / "source"), None)[0]
    with pytest.raises(BuilderError, match="--tp 2 does not divide the intermediate size of 49"):
        planned(subject, f"{GPUS} --tp 2")
