"""Plans of engines: trtexec takes every command line, and its shapes are those of what is served."""

from __future__ import annotations

import math

import pytest
import trtexec
from hypothesis import given
from hypothesis import strategies as st
from planning import options, planned, subject

from builder.ensemble import Member, Tensor
from builder.errors import UsageError
from builder.plan import plan
from builder.planning import placement, versions
from builder.planning.asked import Decision
from builder.planning.memory import USABLE, Memory
from builder.targets import tensorrt

GPU = placement.gpu("h200")
BOX = versions.container("26.08")
TYPES = ("FP32", "FP16", "INT32", "INT64", "INT8", "UINT8", "BOOL", "BF16")
NAMES = st.text("abcdefghijXYZ0123456789_.:/-", min_size=1, max_size=12)


def decided(tokens: int = 1, weights: int = 0) -> Decision:
    return Decision(Memory(GPU.memory, weights, 0, 0, 0, tokens, tokens, 1), 1, "tensorrt", "", {})


def member(inputs: list[Tensor], rows: int) -> Member:
    return Member("", "", tuple(inputs), (Tensor("y", "FP32"),), rows, backend="tensorrt")


tensors = st.builds(
    Tensor, NAMES, st.sampled_from(TYPES), st.lists(st.integers(1, 4096), max_size=4).map(tuple)
)
flat = st.builds(
    lambda name, tail: Tensor(name, "INT32", (-1, *tail), ragged=True),
    NAMES,
    st.lists(st.integers(1, 9), max_size=2),
)
counted = st.builds(
    lambda name, other: Tensor(name, "INT32", (-1,), ragged=True, longest_as=other), NAMES, NAMES
)
inputs = st.lists(st.one_of(tensors, flat, counted), min_size=1, max_size=6).filter(
    lambda found: (
        len(names := [*(one.name for one in found), *(one.longest_as for one in found if one.longest_as)])
        == len(set(names))
    )
)


@given(
    inputs, st.integers(1, 512), st.integers(1, 8192), st.sampled_from(["fp32", "fp16"]), st.integers(0, 200)
)
def test_every_input_that_varies_is_named_once_with_its_least_usual_and_largest_shape(
    found, rows, tokens, precision, gibibytes
):
    graph = member(found, rows)
    told = tensorrt.compilation(graph, decided(tokens, gibibytes << 30), precision, GPU, BOX)
    asked = trtexec.read(list(told.arguments))
    least, usual, most = (asked.shapes[bound] for bound in trtexec.BOUNDS)
    names = {one.name for one in found} | {one.longest_as for one in found if one.longest_as}
    assert set(least) == set(usual) == set(most) == names == set(told.profile)
    for name in names:
        assert len(least[name]) == len(usual[name]) == len(most[name])
        assert all(a <= b <= c for a, b, c in zip(least[name], usual[name], most[name], strict=True))
        assert least[name][0] == 1
        assert {least[name][1:], usual[name][1:], most[name][1:]} == {most[name][1:]}
    for one in found:
        if one.ragged:
            assert most[one.name] == (rows * tokens, *one.dims[1:])
        else:
            assert most[one.name] == (rows, *one.dims)
    assert asked.workspace >= 1
    assert ("--noTF32" in asked.flags) == (precision == "fp32")
    assert asked.flags >= {"--stronglyTyped", "--skipInference"}


@given(st.integers(1, 64), st.integers(1, 64))
def test_the_longest_of_a_request_is_no_more_than_the_engine_takes(rows, tokens):
    """A request of R rows has R equal parts of `extent`, so its size is a multiple of R."""
    places = tensorrt.compilation(
        member([Tensor("extent", "INT32", (-1,), ragged=True, longest_as="places")], rows),
        decided(tokens),
        "fp32",
        GPU,
        BOX,
    ).profile["places"]
    assert all(size * math.ceil(tokens / size) <= places["max"][0] for size in range(1, rows + 1))


@given(st.lists(tensors, max_size=3, unique_by=lambda one: one.name))
def test_a_graph_that_does_not_batch_has_one_shape_and_needs_no_profile(found):
    told = tensorrt.compilation(member(found, 0), decided(), "fp32", GPU, BOX)
    assert trtexec.read(list(told.arguments)).shapes == {} == told.profile


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (Tensor("x", "FP32", (-1, 4)), ["x is [-1, 4]", "--target onnxruntime"]),
        (Tensor("x", "INT32", (-1, -1), ragged=True), ["x is [-1, -1]"]),
        (Tensor("x", "STRING"), ["x is STRING", "INT64"]),
        (Tensor("x", "FP64"), ["x is FP64"]),
        (Tensor("a,b", "FP32"), ["cannot be told of 'a,b'"]),
        (Tensor("a*", "FP32"), ["cannot be told of 'a*'"]),
    ],
)
def test_what_no_engine_can_be_of_is_refused(bad, words):
    with pytest.raises(UsageError) as refused:
        tensorrt.compilation(member([bad], 4), decided(), "fp32", GPU, BOX)
    assert all(word in str(refused.value) for word in words), refused.value


def test_an_image_classifier_by_hand():
    found = planned("vit-base", "--target tensorrt --gpu h200 --quantize fp16 --concurrency 8")
    told = found.compilation
    # 92% of the GPU, less the weights, a batch and 1.5 GiB of CUDA's own, in MiB
    left = (int(GPU.memory * USABLE) - found.memory.used) >> 20
    assert told.arguments == (
        "--onnx=model.onnx",
        "--saveEngine=model.plan.part",
        "--minShapes=pixel_values:1x3x224x224",
        "--optShapes=pixel_values:2x3x224x224",
        "--maxShapes=pixel_values:8x3x224x224",
        "--stronglyTyped",
        f"--memPoolSize=workspace:{left}M",
        "--timingCacheFile=timing.cache",
        "--skipInference",
    )
    assert (told.compute, told.triton) == ("9.0", "26.08")
    assert (told.image, told.tool) == (
        "nvcr.io/nvidia/tritonserver:26.08-py3",
        "/usr/src/tensorrt/bin/trtexec",
    )


def test_a_text_encoder_by_hand():
    told = planned("minilm", "--target tensorrt --gpu l4 --max-context 100 --concurrency 8").compilation
    shapes = {name: (each["min"], each["opt"], each["max"]) for name, each in told.profile.items()}
    assert shapes == {
        "input_ids": ((1,), (2 * 25,), (800,)),
        "rows": ((1, 2), (2, 2), (8, 2)),
        "extent": ((1,), (2 * 25,), (800,)),
        "places": ((1,), (25,), (107,)),
    }


@pytest.mark.parametrize("name", ["vit-base", "distilbert-sst2"])
def test_labels_get_their_names_after_an_engine_and_clients_see_no_difference(name):
    engine, graph = (planned(name, f"--gpu h200 --target {target}") for target in ("tensorrt", "onnxruntime"))
    assert (engine.front.inputs, engine.front.outputs) == (graph.front.inputs, graph.front.outputs)
    assert [tensor.name for tensor in engine.graph.outputs] == ["scores"]
    assert [tensor.name for tensor in graph.graph.outputs] == ["scores", "label"]
    assert [step.member for step in engine.front.member.steps][-1] == "_labels"
    assert {model.name for model in engine.models} - {model.name for model in graph.models} == {
        f"{name}_labels"
    }


def test_an_engine_is_planned_for_the_newest_container_and_for_the_one_that_is_asked_for():
    assert planned("vit-base", "--target tensorrt --gpu h200").container.tag == versions.NEWEST_TAG
    assert planned("vit-base", "--gpu h200").container.tag == versions.DEFAULT_TAG
    asked = planned("vit-base", "--target tensorrt --gpu h200 --triton 25.12")
    assert asked.compilation.image == "nvcr.io/nvidia/tritonserver:25.12-py3"


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("vit-base", "--target tensorrt", ["on a CPU", "an engine runs on a GPU", "--gpu"]),
        ("vit-base", "--target tensorrt --gpu h200 --quantize int8", ["fp16, fp32"]),
        ("bge-reranker", "--target tensorrt --gpu h200", ["does not serve reranking"]),
        ("iris", "--target tensorrt --gpu h200", ["does not serve tabular"]),
        ("vit-base", "--target tensorrt --gpu h200 --accelerate tensorrt", ["takes no accelerator"]),
    ],
)
def test_what_the_target_does_not_do_is_refused(name, line, words):
    with pytest.raises(UsageError) as refused:
        plan(subject(name), options(line))
    assert all(word in str(refused.value) for word in words), refused.value


def test_plans_without_an_engine_say_nothing_of_one():
    assert "compilation" not in planned("minilm", "--gpu h200").to_json()
    assert "strings" not in planned("minilm").to_json()["facts"]
    assert planned("minilm", "--target tensorrt --gpu h200").to_json()["facts"]["strings"] is False
