"""Plans of models that answer in one pass: memory worked by hand, and what holds for every model and GPU."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning import SINGLE_PASS, options, planned, subject

from builder import contract, house, recipe
from builder.architecture import EncoderDimensions
from builder.ensemble import Facts, Tensor
from builder.errors import PlanError, UsageError
from builder.plan import Options, plan
from builder.planning import memory, single_pass
from builder.planning.asked import Question
from builder.planning.placement import Gpu, Split
from builder.quantizations import fp16, fp32, int8
from builder.targets import onnxruntime

GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "line", "weights", "activations"),
    [
        # attention is wider: 4 x 256 x 384 + 2 x 12 x 256^2 = 1,966,080 numbers of 4 bytes in each row
        ("minilm", "", 22_565_376 * 4, 64 * 1_966_080 * 4),
        ("minilm", "--concurrency 1", 22_565_376 * 4, 1_966_080 * 4),
        # the feed-forward network is wider: 16 x (384 + 2 x 1536) = 55,296
        ("minilm", "--max-context 16 --concurrency 2", 22_565_376 * 4, 2 * 55_296 * 4),
        # beyond the recipe's 256 tokens: 4 x 512 x 384 + 2 x 12 x 512^2 = 7,077,888
        ("minilm", "--max-context 512", 22_565_376 * 4, 64 * 7_077_888 * 4),
        # int8 computes in float32, and keeps the 30,522 x 384 numbers of its tables so: 11,720,448
        ("minilm", "--quantize int8", 11_720_448 * 4 + 10_844_928 * 9.25 / 8, 64 * 1_966_080 * 4),
        ("bge-small", "--gpu h200 --quantize fp16", 33_212_160 * 2, 64 * 7_077_888 * 2),
        # 4 x 512 x 768 + 2 x 12 x 512^2 = 7,864,320
        ("bge-reranker", "--gpu t4", 278_044_417 * 4, 64 * 7_864_320 * 4),
        # 14 x 14 patches and one token: 4 x 197 x 768 + 2 x 12 x 197^2 = 1,536,600
        ("vit-base", "--gpu t4 --quantize fp16", 86_567_656 * 2, 64 * 1_536_600 * 2),
        # the three probabilities are its widest tensor
        ("iris", "", 1500, 64 * 3 * 4),
    ],
)
def test_memory_by_hand(name, line, weights, activations):
    found = planned(name, line).memory
    assert (found.weights, found.activations) == (weights, activations)
    assert (found.cache, found.cache_per_token) == (0, 0)
    assert found.runtime == (3 * GIB // 2 if "--gpu" in line else 0)
    assert found.used == weights + activations + found.runtime


@pytest.mark.parametrize("name", SINGLE_PASS)
def test_what_is_left_to_the_plan(name):
    known, found = recipe.load(name), planned(name)
    assert (found.target, found.quantize, found.engine) == ("onnxruntime", "fp32", "onnxruntime")
    assert (found.kind, found.pipeline) == ("single_pass", known.pipeline)
    assert (found.engine_arguments, found.accelerators) == ({}, ())
    assert found.concurrency == found.memory.sequences == 64
    assert found.memory.context == (known.max_tokens or 1)
    assert found.memory.tokens == 64 * found.memory.context
    assert {model.member.max_batch_size for model in found.models} == {64}


@pytest.mark.parametrize("name", SINGLE_PASS)
def test_a_gpu_computes_the_graph_and_nothing_else(name):
    kinds = {model.name: model.instances for model in planned(name, "--gpu h200").models}
    assert all(each is None or each.kind in ("KIND_GPU", "KIND_CPU") for each in kinds.values())
    on_gpu = [model for model, each in kinds.items() if each and each.kind == "KIND_GPU"]
    assert on_gpu == [name if name == "iris" else f"{name}_encoder"]
    assert kinds[on_gpu[0]].gpus == (0,)
    assert kinds[name] is None or on_gpu == [name]


@pytest.mark.parametrize("name", SINGLE_PASS)
def test_fewer_rows_are_fewer_rows_for_every_model(name):
    found = planned(name, "--concurrency 5")
    assert {model.member.max_batch_size for model in found.models} == {5}


@pytest.mark.parametrize("name", SINGLE_PASS)
def test_the_plan_as_json_is_whole_and_repeatable(name):
    found = json.dumps(planned(name).to_json(), sort_keys=True)
    assert found == json.dumps(planned(name).to_json(), sort_keys=True)
    plain = json.loads(found)
    assert (plain["kind"], plain["truncates"], plain["accelerators"]) == ("single_pass", False, [])
    assert plain["facts"]["labels"] == list(planned(name).facts.labels)
    assert all(model["why"] for model in plain["models"])


def test_rare_properties_of_tensors_stand_in_json_where_a_tensor_has_them():
    def said(name, model, tensors, tensor):
        of_model = next(each for each in planned(name).to_json()["models"] if each["name"] == model)
        return next(each for each in of_model[tensors] if each["name"] == tensor)

    assert said("distilbert-sst2", "distilbert-sst2_encoder", "outputs", "scores")["labelled"]
    assert said("bge-reranker", "bge-reranker_encoder", "inputs", "extent")["longest_as"] == "places"
    assert said("minilm", "minilm_encoder", "inputs", "input_ids") == {
        "name": "input_ids", "data_type": "INT32", "dims": (-1,), "optional": False, "ragged": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("minilm", "--tp 2", ["--tp 2 --pp 1", "runs whole on one device"]),
        ("minilm", "--gpu h200 --tp 2", ["--tp 2 --pp 1", "runs whole on one device"]),
        ("minilm", "--gpu h200 --pp 3", ["--tp 1 --pp 3", "runs whole on one device"]),
        ("minilm", "--tp 0", ["both at least 1"]),
        ("minilm", "--concurrency 65", ["--concurrency 65", "1 to 64 rows of a batch"]),
        ("minilm", "--concurrency 0", ["--concurrency 0", "1 to 64 rows of a batch"]),
        ("minilm", "--concurrency -1", ["--concurrency -1", "1 to 64 rows of a batch"]),
        ("minilm", "--max-context 513", ["--max-context 513", "1 to 512 tokens"]),
        ("minilm", "--max-context 0", ["--max-context 0", "1 to 512 tokens"]),
        # two of its 514 positions stand for no token
        ("bge-reranker", "--max-context 513", ["--max-context 513", "1 to 512 tokens"]),
        (
            "minilm",
            "--target onnx",
            ["does not serve embedding, which minilm is for", "--target onnxruntime"],
        ),
        ("iris", "--target vllm", ["does not serve tabular", "--target onnxruntime"]),
        (
            "llama-8b",
            "--target onnxruntime",
            ["does not serve text_generation", "--target llamacpp or llmapi or onnx or tensorrtllm or vllm"],
        ),
        ("minilm", "--quantize int4", ["does not serve --quantize int4 on a CPU", "one of fp32, int8"]),
        ("minilm", "--quantize fp16", ["a CPU computes in float32", "one of fp32, int8"]),
        ("minilm", "--quantize int8 --gpu h200", ["fp16 is faster there", "one of fp16, fp32"]),
        ("minilm", "--quantize bf16 --gpu h200", ["--quantize bf16 on a GPU", "one of fp16, fp32"]),
        # the trees and tables keep their own numbers
        ("iris", "--quantize int8", ["does not serve --quantize int8 on a CPU", "choose one of fp32"]),
        ("iris", "--quantize fp16 --gpu h200", ["--quantize fp16 on a GPU", "choose one of fp32"]),
        ("minilm", "--accelerate tensorrt", ["--accelerate tensorrt", "on a CPU", "one of openvino"]),
        (
            "minilm",
            "--gpu h200 --accelerate tensorrt,openvino",
            ["--accelerate openvino does", "on a GPU", "one of tensorrt, cuda"],
        ),
        ("llama-8b", "--accelerate tensorrt", ["--accelerate tensorrt", "takes no accelerator there"]),
        *(
            ("minilm", f"--gpu h200 --accelerate {names}", [f"--accelerate '{names}'", "each once"])
            for names in (",", "cuda,", ",cuda", "cuda,,tensorrt", "cuda,tensorrt,cuda")
        ),
    ],
)
def test_what_is_refused(name, line, words):
    with pytest.raises(UsageError) as caught:
        planned(name, line)
    assert caught.value.exit_code == 2
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ()),
        ("--accelerate openvino", ("openvino",)),
        ("--gpu h200 --accelerate tensorrt", ("tensorrt",)),
        ("--gpu h200 --accelerate cuda,tensorrt", ("cuda", "tensorrt")),
    ],
)
def test_accelerators_in_the_order_in_which_they_were_asked_for(line, expected):
    assert planned("minilm", line).accelerators == expected


def test_a_text_longer_than_the_recipe_says_is_cut_or_refused_as_it_says(tmp_path):
    from builder.subjects import read

    mine = tmp_path / "mine.toml"
    text = recipe.load("bge-small").path.read_text()
    mine.write_text(text.replace("max_tokens = 512", "max_tokens = 100\ntruncate = true"))
    found = plan(read(str(mine), None, None)[0], Options())
    assert (found.memory.context, found.truncates) == (100, True)
    assert planned("bge-small").truncates is False


def whole(**facts):
    """Return a bare graph of one input of four numbers that takes what `facts` say."""
    tensors = {"inputs": (Tensor("x", "FP32", (4,)),), "outputs": (Tensor("y", "FP32", (2,)),)}
    return dataclasses.replace(
        subject("iris"), name="whole", pipeline="tensors", model_type="onnx", facts=Facts(**tensors, **facts)
    )


def test_a_graph_that_does_not_batch_has_one_row():
    found = plan(whole(batches=False), Options())
    assert [model.member.max_batch_size for model in found.models] == [0]
    assert [model.member.batching for model in found.models] == [None]
    assert (found.concurrency, found.memory.sequences, found.memory.activations) == (1, 1, 3 * 4)
    with pytest.raises(UsageError, match="--concurrency 2\nexpected: 1 to 1 rows"):
        plan(whole(batches=False), Options(concurrency=2))
    assert plan(whole(batches=True), Options()).concurrency == 64


LONG = EncoderDimensions(
    vocabulary_size=50_000,
    hidden_size=768,
    intermediate_size=3072,
    layers=12,
    heads=12,
    context_length=8192,
    parameters=149_000_000,
)


def asked_of(dimensions, card, rows, tokens, quantization=fp32.QUANTIZATION):
    """Return the question that a plan of this size comes to."""
    model = dataclasses.replace(subject("bge-small"), name="long", dimensions=dimensions, max_tokens=None)
    given_options = Options(concurrency=rows, max_context=tokens)
    front = contract.load(contract.USUAL, "onnxruntime")
    return Question(
        model, given_options, "onnxruntime", onnxruntime, front, "fp32", quantization, card, Split()
    )


def test_a_t4_is_refused_what_it_cannot_hold():
    long = dataclasses.replace(subject("bge-small"), name="long", dimensions=LONG, max_tokens=None)
    with pytest.raises(PlanError) as caught:
        plan(long, options("--gpu t4"))
    # 64 x (4 x 8192 x 768 + 2 x 12 x 8192^2) x 4 bytes are 390.0 GiB; weights 0.56, the runtime 1.5
    assert "long does not fit NVIDIA T4 16 GB: 392.1 GiB" in caught.value.found
    assert "a batch of 64 texts of 8192 tokens, of 14.6 GiB" in caught.value.found
    assert "--concurrency" in caught.value.remedy
    assert "--max-context" in caught.value.remedy
    assert plan(long, options("--gpu t4 --concurrency 1")).memory.sequences == 1
    assert plan(long, options("--gpu t4 --max-context 512")).memory.context == 512
    assert plan(long, options("")).memory.total is None


def test_what_does_not_fit_is_no_text_where_the_model_takes_none():
    large = dataclasses.replace(subject("vit-base").dimensions, parameters=10**10, widest=1)
    with pytest.raises(PlanError, match="weights and a batch of 64 inputs, of") as caught:
        plan(dataclasses.replace(subject("vit-base"), dimensions=large), options("--gpu t4"))
    assert caught.value.remedy == "use a smaller --concurrency"


@st.composite
def models(draw):
    heads = draw(st.integers(1, 32))
    return EncoderDimensions(
        vocabulary_size=draw(st.integers(100, 300_000)),
        hidden_size=heads * draw(st.sampled_from([32, 64, 128])),
        intermediate_size=draw(st.integers(64, 16_000)),
        layers=draw(st.integers(1, 48)),
        heads=heads,
        context_length=draw(st.integers(1, 32_768)),
        parameters=draw(st.integers(1, 4_000_000_000)),
        score_tables=draw(st.integers(1, 4)),
        gated=draw(st.booleans()),
    )


ROWS = st.integers(1, 64)
GIGABYTES = st.integers(1, 300)
QUANTIZATIONS = st.sampled_from([each.QUANTIZATION for each in (fp16, fp32, int8)])


def card(gigabytes):
    return Gpu("some", "Some GPU", gigabytes * GIB, "9.0", True)


def outcome(question):
    """Return the memory, None where it is refused."""
    try:
        return single_pass.decide(question).memory
    except PlanError:
        return None


@given(models(), QUANTIZATIONS, GIGABYTES, ROWS, st.data())
def test_never_more_than_the_card_and_refused_only_then(dimensions, quantization, gigabytes, rows, data):
    tokens = data.draw(st.integers(1, dimensions.context_length))
    without = outcome(asked_of(dimensions, None, rows, tokens, quantization))
    found = outcome(asked_of(dimensions, card(gigabytes), rows, tokens, quantization))
    needed = without.used + memory.RUNTIME_BYTES
    if found is None:
        assert needed > gigabytes * GIB * memory.USABLE
    else:
        assert found.used == needed <= found.total * memory.USABLE
        assert (found.sequences, found.context, found.tokens) == (rows, tokens, rows * tokens)


@given(models(), GIGABYTES, st.integers(0, 100), ROWS, st.data())
def test_whatever_fits_also_fits_shorter_in_smaller_batches_on_larger_cards(
    dimensions, gigabytes, more, rows, data
):
    tokens = data.draw(st.integers(1, dimensions.context_length))
    fewer, shorter = data.draw(st.integers(1, rows)), data.draw(st.integers(1, tokens))
    found = outcome(asked_of(dimensions, card(gigabytes), rows, tokens))
    less = outcome(asked_of(dimensions, card(gigabytes + more), fewer, shorter))
    if found is not None:
        assert less is not None
        assert less.used <= found.used


@given(models(), QUANTIZATIONS, ROWS)
def test_activations_grow_by_the_row_and_weights_do_not(dimensions, quantization, rows):
    one, many = (outcome(asked_of(dimensions, None, each, 1, quantization)) for each in (1, rows))
    assert many.activations == rows * one.activations
    assert many.weights == one.weights
    tables = getattr(dimensions, "vocabulary_size", 0) * dimensions.hidden_size
    bits = tables * quantization.embedding_bits + (dimensions.parameters - tables) * quantization.weight_bits
    assert one.weights * 8 >= bits > (one.weights - 1) * 8


@given(models())
def test_a_text_may_be_as_long_as_the_model_has_places_and_no_longer(dimensions):
    assert outcome(asked_of(dimensions, None, 1, None)).context == dimensions.context_length
    with pytest.raises(UsageError, match=f"1 to {dimensions.context_length} tokens"):
        single_pass.decide(asked_of(dimensions, None, 1, dimensions.context_length + 1))


def test_every_pipeline_names_a_kind_that_can_be_planned_and_proven():
    for path in house.folder("ensembles").glob("[!_]*.py"):
        tensors = {"inputs": (Tensor("x", "FP32"),), "outputs": (Tensor("y", "FP32"),)}
        pipeline = house.load_file(path).pipeline(
            Facts(width=1, labels=("a", "b"), image=(3, 1, 1), **tensors)
        )
        assert pipeline.kind in house.plugin_names("planning")
        assert pipeline.kind in house.plugin_names("proving")
        if pipeline.kind == "single_pass":
            assert pipeline.samples in house.plugin_names("proving.samples")
            graph = next(member for member in pipeline.members if member.backend != "python")
            assert pipeline.main in {tensor.name for tensor in graph.outputs}
