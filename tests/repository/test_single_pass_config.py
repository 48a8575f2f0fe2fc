"""config.pbtxt of models that answer in one pass, and the wires of every pipeline."""

import dataclasses
from functools import cache

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import (
    TYPE_INT32,
    BatchInput,
    ModelConfig,
    ModelInstanceGroup,
)

from builder import model_config, recipe, subjects
from builder.ensemble import Facts, Tensor
from builder.plan import Options, plan

SINGLE_PASS = [name for name in recipe.names() if recipe.load(name).pipeline != "text_generation"]
ENSEMBLES = [name for name in SINGLE_PASS if recipe.load(name).pipeline != "tabular"]
EVERY = [*SINGLE_PASS, "smollm2"]
OPTIONS = (Options(), Options(gpu="h200", concurrency=7), Options(gpu="t4", quantize="fp32"))


def read_configs(planned):
    return {
        model.name: text_format.Parse(model_config.text(model, planned), ModelConfig())
        for model in planned.models
    }


@cache
def subject(name):
    return subjects.read(name, None, "mine")[0]


def configs(name, options=None):
    planned = plan(subject(name), options or Options())
    return read_configs(planned), planned


@pytest.mark.parametrize("options", OPTIONS, ids=("cpu", "h200", "t4"))
@pytest.mark.parametrize("name", SINGLE_PASS)
def test_round_trip(name, options):
    read, planned = configs(name, options)
    assert list(read) == [model.name for model in planned.models]
    for model in planned.models:
        config = read[model.name]
        assert config == model_config.message(model, planned)
        assert (config.name, config.max_batch_size) == (model.name, options.concurrency or 64)
        assert config.version_policy.latest.num_versions == 1
        for written, tensors in ((config.input, model.inputs), (config.output, model.outputs)):
            assert [(one.name, tuple(one.dims)) for one in written] == [
                (one.name, one.dims) for one in tensors
            ]
        assert [one.allow_ragged_batch for one in config.input] == [one.ragged for one in model.inputs]


@pytest.mark.parametrize("name", EVERY)
def test_every_step_names_a_model_of_the_deployment_in_its_latest_version(name):
    read, _ = configs(name)
    steps = [step for config in read.values() for step in config.ensemble_scheduling.step]
    assert {step.model_name for step in steps} <= set(read)
    assert all(step.model_version == -1 for step in steps)


def alike(one, other):
    """Say whether two tensors have one type and shapes that can be the same; the batch is in neither."""
    return (
        one.data_type == other.data_type
        and len(one.dims) == len(other.dims)
        and all(
            left == right or -1 in (left, right) for left, right in zip(one.dims, other.dims, strict=True)
        )
    )


@pytest.mark.parametrize("name", EVERY)
def test_wires_have_both_ends_and_they_are_alike(name):
    read, _ = configs(name)
    for ensemble in (config for config in read.values() if config.platform == "ensemble"):
        wires = {tensor.name: tensor for tensor in ensemble.input}
        given, used = set(wires), set()
        for step in ensemble.ensemble_scheduling.step:
            model = read[step.model_name]
            inputs = {tensor.name: tensor for tensor in model.input}
            outputs = {tensor.name: tensor for tensor in model.output}
            required = {tensor.name for tensor in model.input if not tensor.optional}
            assert required <= set(step.input_map) <= set(inputs)
            assert set(step.output_map) <= set(outputs)
            assert all(alike(wires[wire], inputs[one]) for one, wire in step.input_map.items())
            assert not set(step.output_map.values()) & set(wires), "two steps give the same tensor"
            wires |= {wire: outputs[one] for one, wire in step.output_map.items()}
            used |= set(step.input_map.values())
        assert all(alike(wires[tensor.name], tensor) for tensor in ensemble.output)
        given_out = {tensor.name for tensor in ensemble.output}
        assert not given_out & given
        assert set(wires) == used | given_out, "a tensor that nobody reads"


@pytest.mark.parametrize("name", ENSEMBLES)
def test_no_step_takes_fewer_rows_than_the_ensemble(name):
    read, _ = configs(name, Options(concurrency=9))
    assert {config.max_batch_size for config in read.values()} == {9}


@pytest.mark.parametrize("name", ENSEMBLES)
def test_the_front_runs_nothing_itself(name):
    front = configs(name)[0]["mine"]
    assert (front.platform, front.backend) == ("ensemble", "")
    assert not front.instance_group
    assert not front.HasField("dynamic_batching")
    assert not front.HasField("optimization")
    assert not front.parameters


def graph(read):
    """Return the config of the model that Triton's own backend runs."""
    (found,) = (config for config in read.values() if config.backend == "onnxruntime")
    return found


@pytest.mark.parametrize("name", SINGLE_PASS)
def test_the_graph_is_run_by_tritons_own_backend_and_all_else_in_python(name):
    read, _ = configs(name)
    assert graph(read).name == ("mine" if name == "iris" else "mine_encoder")
    backends = {config.backend for config in read.values() if config.platform != "ensemble"}
    assert backends == ({"onnxruntime"} if name == "iris" else {"onnxruntime", "python"})
    assert not any(config.model_transaction_policy.decoupled for config in read.values())


@pytest.mark.parametrize("name", SINGLE_PASS)
def test_whatever_waits_is_batched_and_nothing_waits_for_company(name):
    for config in configs(name)[0].values():
        if config.platform == "ensemble":
            continue
        assert config.HasField("dynamic_batching")
        assert config.dynamic_batching.max_queue_delay_microseconds == 0
        # with any policy Triton 2.51 now and then leaves a request lying
        assert not config.dynamic_batching.HasField("default_queue_policy")


def places_are_made_of_the_extent(encoder):
    (places,) = encoder.batch_input
    assert places.kind == BatchInput.BATCH_MAX_ELEMENT_COUNT_AS_SHAPE
    assert (list(places.target_name), list(places.source_input)) == (["places"], ["extent"])
    assert places.data_type == TYPE_INT32


@pytest.mark.parametrize("name", ["minilm", "bge-small", "distilbert-sst2", "bert-ner"])
def test_texts_of_any_lengths_share_a_batch(name):
    encoder = graph(configs(name)[0])
    ids, rows, extent = encoder.input
    assert (ids.name, ids.allow_ragged_batch, list(ids.dims)) == ("input_ids", True, [-1])
    assert (rows.name, rows.allow_ragged_batch, list(rows.dims)) == ("rows", False, [2])
    assert (extent.name, extent.allow_ragged_batch, list(extent.dims)) == ("extent", True, [-1])
    places_are_made_of_the_extent(encoder)


def test_every_pair_is_a_row_of_the_batch_that_was_planned():
    read, planned = configs("bge-reranker", Options(concurrency=7))
    encoder = read["mine_encoder"]
    dims = {one.name: (one.allow_ragged_batch, list(one.dims)) for one in encoder.input}
    assert dims == {"input_ids": (True, [-1]), "rows": (False, [3]), "extent": (True, [-1])}
    places_are_made_of_the_extent(encoder)
    assert [(one.name, list(one.dims)) for one in encoder.output] == [("scores", [1])]
    assert encoder.max_batch_size == planned.memory.sequences == 7


@pytest.mark.parametrize("name", EVERY)
def test_an_output_has_a_label_file_where_its_elements_have_names(name):
    read, planned = configs(name)
    for model in planned.models:
        for output in read[model.name].output:
            labelled = output.name in ("scores", "probabilities") and planned.facts.labels
            assert output.label_filename == ("labels.txt" if labelled else "")
            if labelled:
                assert list(output.dims) == [len(planned.facts.labels)]


@pytest.mark.parametrize("name", SINGLE_PASS)
@pytest.mark.parametrize(
    ("options", "kind", "gpus"),
    [
        (Options(), ModelInstanceGroup.KIND_CPU, []),
        (Options(gpu="h200"), ModelInstanceGroup.KIND_GPU, [0]),
    ],
    ids=("cpu", "gpu"),
)
def test_instance_groups(name, options, kind, gpus):
    read, _ = configs(name, options)
    for config in read.values():
        if config.platform == "ensemble":
            continue
        (group,) = config.instance_group
        if config.backend == "onnxruntime":
            assert (group.kind, group.count, list(group.gpus)) == (kind, 1, gpus)
        else:
            assert (group.kind, list(group.gpus)) == (ModelInstanceGroup.KIND_CPU, [])


@pytest.mark.parametrize(
    ("options", "gpu", "cpu"),
    [
        (Options(), [], []),
        (Options(gpu="h200"), [], []),
        (Options(accelerate="openvino"), [], [("openvino", {})]),
        (
            Options(gpu="h200", accelerate="tensorrt", quantize="fp32"),
            [("tensorrt", {"precision_mode": "FP32"})],
            [],
        ),
        (
            Options(gpu="h200", accelerate="tensorrt,cuda", quantize="fp16"),
            [("tensorrt", {"precision_mode": "FP16"}), ("cuda", {})],
            [],
        ),
        (
            Options(gpu="h200", accelerate="cuda,tensorrt", quantize="fp16"),
            [("cuda", {}), ("tensorrt", {"precision_mode": "FP16"})],
            [],
        ),
    ],
)
@pytest.mark.parametrize("name", ["minilm", "iris"])
def test_accelerators_of_the_graph_in_their_order(name, options, gpu, cpu):
    if name == "iris" and options.quantize == "fp16":
        options = dataclasses.replace(options, quantize="fp32")
        gpu = [(one, dict.fromkeys(told, "FP32")) for one, told in gpu]
    read, _ = configs(name, options)
    for config in read.values():
        found = config.optimization.execution_accelerators
        mine = config.backend == "onnxruntime"
        assert [(one.name, dict(one.parameters)) for one in found.gpu_execution_accelerator] == gpu * mine
        assert [(one.name, dict(one.parameters)) for one in found.cpu_execution_accelerator] == cpu * mine


def test_parameters_of_the_backend():
    _, planned = configs("minilm")
    told = dataclasses.replace(planned, engine_arguments={"intra_op_thread_count": 4, "mode": "x"})
    written = {
        name: {key: value.string_value for key, value in config.parameters.items()}
        for name, config in read_configs(told).items()
    }
    assert written.pop("mine_encoder") == {"intra_op_thread_count": "4", "mode": "x"}
    assert not any(written.values())


@pytest.mark.parametrize("batches", [True, False])
def test_a_bare_graph(batches):
    tensors = {"inputs": (Tensor("x", "FP32", (4, -1)),), "outputs": (Tensor("y", "INT64", (2,)),)}
    bare = dataclasses.replace(subject("iris"), pipeline="tensors", facts=Facts(**tensors, batches=batches))
    (config,) = read_configs(plan(bare, Options())).values()
    assert config.max_batch_size == (64 if batches else 0)
    assert config.HasField("dynamic_batching") == batches
    assert [list(one.dims) for one in (*config.input, *config.output)] == [[4, -1], [2]]


@pytest.mark.parametrize("name", [name for name in SINGLE_PASS if recipe.load(name).max_tokens])
def test_other_lengths_leave_the_config_alone(name):
    """Triton applies a config to every version: what may differ stands in the version folder."""
    _, short = configs(name, Options(max_context=17))
    _, long = configs(name, Options(quantize="int8"))
    for one, other in zip(short.models, long.models, strict=True):
        assert model_config.text(one, short) == model_config.text(other, long)
