"""config.pbtxt as Triton's own protobuf reads it."""

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from builder import model_config, recipe, subjects
from builder.plan import Options, plan

DECODERS = [name for name in recipe.names() if recipe.load(name).pipeline == "text_generation"]
CASES = [
    (name, options)
    for name in DECODERS
    for options in (
        Options(),
        Options(gpu="h200", max_context=2048),
        Options(gpu="h200", tensor_parallel=4, max_context=2048),
    )
    if (name, options.tensor_parallel) != ("smollm2", 4)
    and (name, options.gpu, options.tensor_parallel) != ("llama-70b", "h200", 1)
]


def configs(name="smollm2", options=None):
    planned = plan(subjects.read(name, None, "chat")[0], options or Options())
    return {
        model.name: text_format.Parse(model_config.text(model, planned), ModelConfig())
        for model in planned.models
    }, planned


@pytest.mark.parametrize(("name", "options"), CASES)
def test_round_trip(name, options):
    read, planned = configs(name, options)
    assert list(read) == ["chat_tokenizer", "chat_detokenizer", "chat", "chat_ensemble"]
    for model in planned.models:
        assert read[model.name] == model_config.message(model, planned)
        assert read[model.name].name == model.name
        for written, planned_tensors in (
            (read[model.name].input, model.inputs),
            (read[model.name].output, model.outputs),
        ):
            assert [(one.name, tuple(one.dims)) for one in written] == [
                (one.name, one.dims) for one in planned_tensors
            ]


def test_only_the_front_is_decoupled():
    read, _ = configs()
    assert [name for name, config in read.items() if config.model_transaction_policy.decoupled] == ["chat"]


def test_the_ensemble_runs_nothing_itself():
    ensemble = configs()[0]["chat_ensemble"]
    assert ensemble.platform == "ensemble"
    assert not ensemble.backend
    assert not ensemble.instance_group
    assert not ensemble.HasField("dynamic_batching")


def test_every_step_names_a_model_of_the_deployment_in_its_latest_version():
    """Version 0, which an absent field means, is no version of any model."""
    read, _ = configs()
    steps = read["chat_ensemble"].ensemble_scheduling.step
    assert [step.model_name for step in steps] == ["chat_tokenizer", "chat", "chat_detokenizer"]
    assert [step.model_version for step in steps] == [-1, -1, -1]


def test_wires_have_both_ends():
    read, _ = configs()
    ensemble = read["chat_ensemble"]
    known = {tensor.name for tensor in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        model = read[step.model_name]
        required = {tensor.name for tensor in model.input if not tensor.optional}
        assert required <= set(step.input_map) <= {tensor.name for tensor in model.input}
        assert set(step.output_map) <= {tensor.name for tensor in model.output}
        assert set(step.input_map.values()) <= known
        known |= set(step.output_map.values())
    assert {tensor.name for tensor in ensemble.output} <= known


def test_wired_tensors_are_of_one_type():
    read, _ = configs()
    ensemble = read["chat_ensemble"]
    types = {tensor.name: tensor.data_type for tensor in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        model = read[step.model_name]
        inputs = {tensor.name: tensor.data_type for tensor in model.input}
        outputs = {tensor.name: tensor.data_type for tensor in model.output}
        assert all(types[wire] == inputs[name] for name, wire in step.input_map.items())
        types |= {wire: outputs[name] for name, wire in step.output_map.items()}
    assert all(types[tensor.name] == tensor.data_type for tensor in ensemble.output)


def test_batching():
    read, _ = configs()
    assert read["chat"].max_batch_size == 1
    assert not read["chat"].HasField("dynamic_batching")
    for part in ("chat_tokenizer", "chat_detokenizer"):
        assert read[part].max_batch_size == 64
        assert read[part].HasField("dynamic_batching")
    # a limit after a decoupled step would silence its stream
    assert not read["chat_detokenizer"].dynamic_batching.default_queue_policy.max_queue_size


@pytest.mark.parametrize(
    ("options", "kind", "gpus"),
    [
        (Options(), ModelInstanceGroup.KIND_CPU, []),
        (Options(gpu="h200"), ModelInstanceGroup.KIND_GPU, [0]),
        (Options(gpu="h200", tensor_parallel=3), ModelInstanceGroup.KIND_MODEL, []),
    ],
)
def test_instance_groups(options, kind, gpus):
    read, _ = configs(options=options)
    (group,) = read["chat"].instance_group
    assert (group.kind, group.count, list(group.gpus)) == (kind, 1, gpus)
    assert read["chat_tokenizer"].instance_group[0].kind == ModelInstanceGroup.KIND_CPU


def test_settings_leave_the_config_alone():
    """Triton applies a config to every version: what may differ stands in the version folder."""
    _, few = configs(options=Options(max_context=512, concurrency=2, quantize="fp32"))
    _, many = configs(options=Options(max_context=8192, concurrency=32, quantize="int8"))
    for one, other in zip(few.models, many.models, strict=True):
        assert model_config.text(one, few) == model_config.text(other, many)


def test_the_front_takes_one_of_three_prompts():
    inputs = {tensor.name: tensor for tensor in configs()[0]["chat"].input}
    assert all(tensor.optional for tensor in inputs.values())
    assert {"text_input", "messages", "input_ids"} <= set(inputs)
