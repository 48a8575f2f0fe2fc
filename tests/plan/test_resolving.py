"""The container for a job: the newest that can do it, and refusals that say why and what else."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning import options, planned, subject

from builder.errors import UsageError
from builder.plan import plan
from builder.planning import placement, versions
from builder.planning.resolving import Machine, Needs, resolve, verdicts
from builder.planning.versions import TENSORRT_LLM, VLLM

ROOT = Path(__file__).parents[2]
H100, A100, T4, B200 = (placement.gpu(name) for name in ("h100", "a100-80", "t4", "b200"))
ENGINE = Needs(
    sort=TENSORRT_LLM,
    library="tensorrtllm",
    least=(1, 0),
    below=(1, 2, 2),
    tools=("trtllm-build",),
    compute="8.0",
    formats={"fp8": "8.9"},
    instead="--target llmapi",
)
"""What TensorRT-LLM's engines ask: NVIDIA has removed them after 1.2.1."""
ONLY_LIBRARY = Needs(sort=TENSORRT_LLM, library="tensorrtllm")
GRAPH = Needs(library="onnxruntime", graph="onnxruntime")


def refusal(needs: Needs, machine: Machine, asked: str | None = None) -> str:
    with pytest.raises(UsageError) as refused:
        resolve(needs, machine, asked, "target tensorrtllm")
    return str(refused.value)


def test_the_newest_container_is_chosen_and_newer_ones_are_told_why_not() -> None:
    found = resolve(ENGINE, Machine(H100), None, "target tensorrtllm")
    assert found.image == "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
    assert found.why == "the newest that has TensorRT-LLM >= 1.0, < 1.2.2"
    assert [tag for tag, _ in found.newer] == ["26.09", "26.08"]
    assert dict(found.newer)["26.08"] == (
        "NVIDIA has not built nvcr.io/nvidia/tritonserver:26.08-trtllm-python-py3"
    )


def test_an_engine_on_26_08_is_refused_with_two_ways_out() -> None:
    said = refusal(ENGINE, Machine(H100), "26.08")
    assert "--triton 26.08: NVIDIA has not built" in said
    assert "target tensorrtllm needs TensorRT-LLM >= 1.0, < 1.2.2" in said
    assert said.endswith("use `--triton 26.07`, or `--target llmapi`")


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("26.09", ["nothing is known here of", "26.09-trtllm-python-py3"]),
        ("25.08", ["25.08-trtllm-python-py3 holds TensorRT-LLM 0.21.0"]),
        ("26.13", ["not in the table"]),
    ],
)
def test_other_containers_are_refused_too(tag: str, words: list[str]) -> None:
    said = refusal(ENGINE, Machine(H100), tag)
    assert all(word in said for word in words), said


def test_a_driver_chooses_an_older_container_and_says_so() -> None:
    found = resolve(ENGINE, Machine(H100, "550.54.15"), None, "target tensorrtllm")
    assert found.container.tag == "25.10"
    assert dict(found.newer)["26.07"] == (
        "its CUDA 13.1.0.036 needs a driver from 580.65.06 on, and there is 550.54.15"
    )
    exact = resolve(ENGINE, Machine(H100, "580.65.06"), None, "target tensorrtllm")
    assert exact.container.tag == "26.07"


def test_a_driver_that_is_too_old_is_refused_with_the_one_that_would_do() -> None:
    said = refusal(ENGINE, Machine(H100, "470.57"))
    assert "580.65.06 on, and there is 470.57" in said
    assert "and a driver from 525.60.13 on" in said
    asked = refusal(ENGINE, Machine(H100, "550.54.15"), "26.07")
    assert "needs a driver from 580.65.06" in asked
    assert "use `--triton 25.10`" in asked


def test_a_gpu_that_is_too_old_for_all() -> None:
    said = refusal(ENGINE, Machine(T4))
    assert "NVIDIA T4 16 GB has compute capability 7.5: target tensorrtllm runs from 8.0 on" in said
    assert "a GPU of compute capability 8.0 or more" in said


def test_fp8_needs_a_gpu_that_computes_it() -> None:
    said = refusal(ENGINE, Machine(A100, formats=("fp8", "")))
    assert "compute capability 8.0: target tensorrtllm computes fp8 from 8.9 on" in said
    assert resolve(ENGINE, Machine(A100, formats=("fp16", "")), None, "").container.tag == "26.07"
    assert resolve(ENGINE, Machine(H100, formats=("fp8", "")), None, "").container.tag == "26.07"


@pytest.mark.parametrize(
    ("machine", "asked", "remedy"),
    [
        (Machine(T4), None, "name another GPU"),
        (Machine(A100, formats=("fp8", "")), None, "name another GPU"),
        (Machine(H100, "500.1"), None, "update the driver, or serve it where there is a newer one"),
        (Machine(H100, "500.1"), "26.08", ""),
        # an LLM API quantises nothing
        (Machine(H100, formats=("fp8", "")), "26.08", "use `--triton 26.07`"),
        (Machine(H100, formats=("bf16", "")), "26.08", "use `--triton 26.07`, or `--target llmapi`"),
        # weights that are quantised already say themselves who takes them
        (Machine(H100, formats=("modelopt", "")), "26.08", "use `--triton 26.07`, or `--target llmapi`"),
    ],
)
def test_another_target_is_offered_where_it_can_do_the_job(
    machine: Machine, asked: str | None, remedy: str
) -> None:
    with pytest.raises(UsageError) as refused:
        resolve(ENGINE, machine, asked, "target tensorrtllm")
    assert refused.value.remedy == remedy


@pytest.mark.parametrize("driver", ["abc", "570.", "570.86.x", " 570", "570-86"])
def test_a_driver_that_is_no_version_is_a_usage_error(driver: str) -> None:
    with pytest.raises(UsageError, match="--driver") as refused:
        Machine(H100, driver)
    assert refused.value.expected == "a version, such as 570.86.10"
    with pytest.raises(UsageError, match="--driver"):
        planned("llama-8b", f"--gpu h200 --target vllm --driver '{driver}'")


def test_a_gpu_that_is_newer_than_the_container() -> None:
    assert resolve(ONLY_LIBRARY, Machine(H100), "24.12", "").container.tag == "24.12"
    said = refusal(ONLY_LIBRARY, Machine(B200), "24.12")
    assert "its CUDA 12.6.3 is for compute capability 5.0 to 9.0" in said
    assert "NVIDIA B200 192 GB has 10.0" in said
    assert verdicts(ONLY_LIBRARY, Machine(B200))["25.01"] == ""


@pytest.mark.parametrize(("opset", "ir", "oldest"), [(21, 10, "24.07"), (22, 10, "25.03"), (23, 11, "25.05")])
def test_a_graph_needs_a_runtime_that_knows_its_opset(opset: int, ir: int, oldest: str) -> None:
    able = [tag for tag, problem in verdicts(GRAPH, Machine(opset=opset, ir=ir)).items() if not problem]
    assert (min(able), max(able)) == (oldest, "26.08")


def test_a_graph_that_is_too_new_is_refused_with_both_numbers() -> None:
    said = refusal(GRAPH, Machine(opset=23), "24.10")
    assert "the graph has opset 23, and its ONNX Runtime 1.19.2 knows 21" in said
    assert "use `--triton 26.08`" in said
    assert "the graph has IR version 11, and its ONNX Runtime 1.19.2 knows 10" in refusal(
        GRAPH, Machine(opset=20, ir=11), "24.10"
    )
    beside = Needs(sort=TENSORRT_LLM, library="tensorrt", graph="tensorrt")
    assert "opset 25, and its TensorRT 10.14.1.48 knows 24" in refusal(beside, Machine(opset=25), "26.07")


def test_a_graph_of_one_s_own_is_refused_by_an_old_container_before_anything_is_made() -> None:
    model = dataclasses.replace(subject("vit-base"), opset=23, ir_version=11)
    assert plan(model, options("")).container.tag == versions.DEFAULT_TAG
    assert plan(model, options("--triton 25.06")).container.tag == "25.06"
    with pytest.raises(UsageError, match=r"opset 23, and its ONNX Runtime 1\.19\.2 knows 21"):
        plan(model, options("--triton 24.10"))


def test_targets_that_exist_resolve() -> None:
    found = planned("llama-8b", "--gpu h200 --target llmapi --driver 575.51.03")
    assert found.container.tag == "25.10"
    assert found.resolution is not None
    assert found.to_json()["resolution"]["image"].endswith("25.10-trtllm-python-py3")
    with pytest.raises(UsageError, match=r"driver from 580\.65\.06 on, and there is 575"):
        planned("llama-8b", "--gpu h200 --target vllm --driver 575.51.03")
    with pytest.raises(UsageError, match=r"computes fp8 from 8\.9 on"):
        planned("llama-8b", "--gpu a100-80 --target llmapi --kv-cache fp8")
    with pytest.raises(UsageError, match=r"llmapi runs from 8\.0 on"):
        planned("smollm2", "--gpu t4 --target llmapi --quantize fp16")


def test_a_target_that_any_container_runs_has_no_resolution() -> None:
    found = planned("smollm2", "")
    assert found.resolution is None
    assert "resolution" not in found.to_json()


@given(
    st.sampled_from(list(placement.gpus().values())),
    st.sampled_from(["", "470.1", "530.0", "575.1", "580.65.06", "999"]),
    st.integers(7, 26),
    st.sampled_from([ENGINE, ONLY_LIBRARY, GRAPH, Needs(sort=VLLM, library="vllm", least=(0, 11))]),
)
def test_what_is_chosen_is_the_newest_of_those_that_can(
    card: placement.Gpu, driver: str, opset: int, needs: Needs
) -> None:
    machine = Machine(card, driver, opset=opset)
    able = [tag for tag, problem in verdicts(needs, machine).items() if not problem]
    try:
        found = resolve(needs, machine, None, "it")
    except UsageError:
        assert not able or versions.number(card.compute) < versions.number(needs.compute)
        return
    assert found.container.tag == max(able)
    assert [tag for tag, _ in found.newer] == [
        tag for tag in reversed(versions.containers()) if tag > found.container.tag
    ]
    for tag in able:
        assert resolve(needs, machine, tag, "it").container.tag == tag


class TestTable:
    """data/containers.toml, against NVIDIA's compatibility matrix of 2026-08."""

    def test_every_month_from_24_07_to_26_09_is_there(self) -> None:
        months = [f"{year}.{month:02}" for year in (24, 25, 26) for month in range(1, 13)]
        assert list(versions.containers()) == [one for one in months if "24.07" <= one <= "26.09"]

    @pytest.mark.parametrize(
        ("tag", "sort", "held"),
        [
            ("26.07", TENSORRT_LLM, ("1.2.1", "10.14.1.48", "13.1.0.036", "590.44.01", 14.2)),
            ("26.03", TENSORRT_LLM, ("1.2.0", "10.14.1.48", "13.1.0.036", "590.44.01", 14.18)),
            ("25.11", TENSORRT_LLM, ("1.0.3.2510", "10.13.3.9", "13.0.2.006", "580.95.05", 12.25)),
            ("25.08", TENSORRT_LLM, ("0.21.0", "10.11.0.33", "12.9.0.043", "575.51.03", 20.49)),
            ("25.02", TENSORRT_LLM, ("0.17.0.post1", "10.8.0.43", "12.8.0.038", "570.86.10", 28)),
            ("24.07", TENSORRT_LLM, ("0.11.0", "10.1.0", "12.4.1.003", "550.54.15", 23)),
        ],
    )
    def test_rows_by_hand(self, tag: str, sort: str, held: tuple[str, ...]) -> None:
        row = versions.container(tag).contents(sort)
        assert (row.tensorrtllm, row.tensorrt, row.cuda, row.driver, row.size) == held

    def test_what_is_not_known_is_empty(self) -> None:
        last = versions.container("26.09")
        assert (last.triton, last.python, last.images, last.absent) == ("2.73.0", "", {}, ())
        assert versions.container("26.08").absent == (TENSORRT_LLM,)
        assert versions.container("26.08").contents(VLLM).vllm == "0.27.1"
        assert versions.before("26.09").tag == versions.NEWEST_TAG == "26.08"

    def test_versions_never_go_back(self) -> None:
        table = versions.containers().values()
        for library in ("triton", "onnxruntime", "vllm", "tensorrtllm", "tensorrt"):
            held = [versions.number(value) for box in table if (value := getattr(box, library))]
            assert held == sorted(held), library

    def test_the_extras_and_the_images_are_of_the_same_versions(self) -> None:
        told = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        for module, extra in (("vllm", "vllm"), ("tensorrt_llm", "tensorrt-llm")):
            image = tomllib.loads((ROOT / "docker/images" / f"{module}.toml").read_text(encoding="utf-8"))
            assert re.search(rf'"{extra}>={image["least"]},<{image["below"]}"', told), extra
