"""What is refused is refused with numbers, and every way out that is printed is one."""

import re

import pytest
from planning import DECODERS, options, planned, subject

from builder.errors import PlanError, UsageError
from builder.plan import plan
from builder.planning import placement
from builder.planning.placement import Split, gpus, obstacle


def refusal(name, line):
    with pytest.raises(PlanError) as caught:
        planned(name, line)
    return caught.value


def ways_out(error):
    return re.findall(r"`(--[^`]+)`", error.remedy)


@pytest.mark.parametrize(
    ("name", "split", "expected"),
    [
        ("llama-8b", Split(3), "--tp 3 does not divide the 32 attention heads"),
        ("llama-8b", Split(5), "--tp 5 does not divide the 32 attention heads"),
        ("llama-8b", Split(1, 3), "--pp 3 does not divide the 32 layers"),
        ("llama-8b", Split(16), None),
        ("llama-8b", Split(32), None),
        ("llama-8b", Split(64), "--tp 64 does not divide the 32 attention heads"),
        ("qwen-7b", Split(7), "--tp 7 neither divides the 4 KV heads nor is a multiple of them"),
        ("qwen-7b", Split(14), "--tp 14 neither divides the 4 KV heads nor is a multiple of them"),
        ("qwen-7b", Split(28), None),
        ("smollm2", Split(3), None),
        ("smollm2", Split(9), None),
        ("smollm2", Split(2), "--tp 2 does not divide the 9 attention heads"),
    ],
)
def test_what_divides(name, split, expected):
    assert obstacle(subject(name).dimensions, split) == expected


def test_heads_refused_with_the_nearest_choice():
    error = refusal("llama-8b", "--gpu a10 --tp 3")
    assert error.found == "llama-8b: --tp 3 does not divide the 32 attention heads"
    assert ways_out(error)[:2] == ["--gpu a10 --tp 4", "--gpu a10 --tp 2"]


def test_too_large_is_refused_with_its_numbers():
    error = refusal("llama-70b", "--gpu h200")
    assert "llama-70b does not fit 1 x NVIDIA H200 141 GB" in error.found
    for number in ("139.7 GiB", "92%", "131.4 GiB", "1.5 GiB", "1 x 131072 tokens", "40.0 GiB", "172.9 GiB"):
        assert number in error.found
    assert "--gpu h200 --tp 2" in ways_out(error)
    assert planned("llama-70b", "--gpu h200 --tp 2").target == "vllm"


def test_too_many_requests_at_once_are_refused_with_fewer():
    error = refusal("llama-8b", "--gpu h200 --concurrency 9")
    assert "9 x 131072 tokens" in error.found
    assert "--gpu h200 --tp 1 --concurrency 7" in ways_out(error)
    assert planned("llama-8b", "--gpu h200 --concurrency 7").memory.sequences == 7


@pytest.mark.parametrize(
    ("line", "nearest"),
    [
        ("--pp 5", ["--gpu h100 --tp 1 --pp 4", "--gpu h100 --tp 1 --pp 8"]),
        ("--pp 3", ["--gpu h100 --tp 1 --pp 4", "--gpu h100 --tp 1 --pp 2"]),
        ("--tp 2 --pp 3", ["--gpu h100 --tp 2 --pp 4", "--gpu h100 --tp 2 --pp 2"]),
        ("--tp 4 --pp 3", ["--gpu h100 --tp 4 --pp 2"]),
        (
            "--target tensorrtllm --tp 4 --pp 3 --hosts 4",
            ["--gpu h100 --tp 4 --pp 4", "--gpu h100 --tp 4 --pp 2"],
        ),
        # 2 and 4 stages are not so many GPUs on each of 3 hosts
        ("--target tensorrtllm --tp 1 --pp 3 --hosts 3", []),
    ],
)
def test_a_pipeline_that_divides_nothing(line, nearest):
    error = refusal("llama-8b", f"--gpu h100 {line}")
    assert re.search(r"--pp \d does not divide the 32 layers", error.found)
    kept = [choice for choice in ways_out(error) if "--pp 1" not in choice]
    assert kept == nearest
    assert ways_out(error)[: len(kept)] == kept
    for choice in kept:
        assert planned("llama-8b", f"{line} {choice}").split.pipeline > 1


def test_a_target_of_one_gpu():
    error = refusal("llama-8b", "--gpu h100 --tp 2 --target onnx --max-context 4096")
    assert error.found.startswith("llama-8b: target onnx runs on 1 GPU of one host, --tp 2 --pp 1 asks for 2")
    assert ways_out(error)[0] == "--gpu h100 --tp 1"


def test_more_gpus_than_a_host_has():
    error = refusal("llama-8b", "--gpu h100 --tp 16")
    assert "target vllm runs on 8 GPUs of one host, --tp 16 --pp 1 asks for 16" in error.found
    assert "--gpu h100 --tp 8" in ways_out(error)


def test_nothing_in_the_table_is_large_enough():
    error = refusal("llama-70b", "--gpu b200 --target onnx --concurrency 200")
    assert not [
        choice for choice in ways_out(error) if "--concurrency" not in choice and "--max" not in choice
    ]
    nothing = refusal("llama-70b", "--gpu t4 --target onnx --max-context 100000 --concurrency 100")
    assert nothing.remedy.startswith("no GPU in the table holds llama-70b so")


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize(
    "more",
    ["", "--pp 2", "--pp 7", "--concurrency 3", "--concurrency 300", "--target onnx", "--max-context 2048"],
)
def test_every_way_out_works(name, more):
    """Every GPU, every --tp: accepted, or refused with choices that are accepted when added."""
    refused = 0
    for card in gpus():
        for tensor in range(1, 9):
            asked = options(f"--gpu {card} --tp {tensor} {more}")
            try:
                found = plan(subject(name), asked)
            except PlanError as error:
                refused += 1
                for choice in ways_out(error):
                    plan(subject(name), options(choice, asked))
                assert ways_out(error) or error.remedy.startswith("no GPU in the table")
            else:
                assert found.memory.used <= found.memory.total
                assert found.memory.sequences >= (asked.concurrency or 1)
                assert obstacle(found.dimensions, found.split) is None
    assert refused, "this combination tries no refusal"


def test_no_choice_means_that_there_is_none():
    """Where none is printed, no GPU of the table with any number of GPUs would do."""
    asked = options("--gpu t4 --target vllm --concurrency 300")
    for name in DECODERS:
        try:
            plan(subject(name), asked)
        except PlanError as error:
            if ways_out(error):
                continue
            for size in range(1, placement.MOST_GPUS + 1):
                with pytest.raises(PlanError):
                    plan(subject(name), options(f"--tp {size}", asked))


@pytest.mark.parametrize("line", ["--gpu h100 --tp 0", "--gpu h100 --pp 0", "--gpu h100 --tp -2", "--tp -1"])
def test_a_split_of_nothing(line):
    with pytest.raises(UsageError, match="both at least 1"):
        planned("llama-8b", line)


def test_a_split_without_a_gpu():
    with pytest.raises(UsageError, match="name the GPU with --gpu"):
        planned("llama-8b", "--tp 2 --target onnx --quantize int4")
