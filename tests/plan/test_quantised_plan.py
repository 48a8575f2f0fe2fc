"""Plans of checkpoints whose weights are quantised already: what is read, who takes them, their sizes."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import tiny_quantised
from click.testing import CliRunner, Result
from planning import planned, planned_from
from safetensors import safe_open

from builder import weight_format
from builder.cli import main
from builder.errors import BuilderError, SourceError
from builder.plan import Plan
from builder.planning import memory, precision
from builder.quantizations import q4_k_m
from builder.source import open_checkpoint, read_json
from builder.subjects import read

VLLM = "--gpu h200 --target vllm --max-context 64"


def plan_of(folder: Path, line: str = VLLM) -> Plan:
    return planned_from(folder, line)


def command(folder: Path, line: str) -> Result:
    return CliRunner().invoke(main, ["plan", "tiny", "--checkpoint", str(folder), *shlex.split(line)])


@pytest.fixture
def awq(tmp_path: Path) -> Path:
    tiny_quantised.checkpoint(tmp_path / "model", "awq")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("way", "name", "words", "least"),
    [
        ("awq", "awq", "4-bit weights in groups of 32 with zero points", "7.5"),
        ("gptq", "gptq", "4-bit weights in groups of 32", "6.0"),
        ("gptq-by-activations", "gptq", "8-bit weights in groups of 32, by their activations", "6.0"),
        ("fp8-blocks", "fp8", "float8_e4m3 weights in blocks of 24 x 24, dynamic activations", "7.5"),
        ("fp8-static", "fp8", "float8_e4m3 weights, a scale for each matrix, static activations", "7.5"),
        ("modelopt-fp8", "modelopt", "FP8: float8_e4m3 weights and activations", "8.9"),
        ("modelopt-nvfp4", "modelopt", "NVFP4: float4_e2m1 weights and activations", "7.5"),
        ("compressed-fp8", "compressed_tensors", "float-quantized: 8-bit float weights, a scale", "7.5"),
        ("compressed-int8", "compressed_tensors", "a scale for each output, 8-bit activations", "7.5"),
        ("compressed-int4", "compressed_tensors", "pack-quantized: 4-bit int weights in groups", "7.5"),
        ("compressed-nvfp4", "compressed_tensors", "4-bit float weights in groups of 16", "7.5"),
        ("bitsandbytes-nf4", "bitsandbytes", "4-bit nf4 weights in blocks of 64, scales quantised", "7.0"),
        ("bitsandbytes-int8", "bitsandbytes", "int8 weights, a scale for each output", "7.0"),
    ],
)
def test_each_way_is_recognised_and_its_bytes_are_those_of_the_file(
    way: str, name: str, words: str, least: str, tmp_path: Path
) -> None:
    tiny_quantised.checkpoint(tmp_path / "model", way)
    found = plan_of(tmp_path / "model")
    assert found.stored is not None
    assert (found.quantize, words in found.stored.scheme) == (name, True)
    assert found.stored.kernels["vllm"].compute == least
    with safe_open(tmp_path / "model" / "model.safetensors", framework="pt") as file:
        held = [file.get_tensor(tensor) for tensor in file.keys()]  # noqa: SIM118 - no mapping
    assert found.memory.weights == sum(tensor.numel() * tensor.element_size() for tensor in held)
    assert "quantization" not in found.engine_arguments
    assert found.engine_arguments["dtype"] == "float16"


def test_every_way_is_tried() -> None:
    tried = {told["quant_method"].replace("-", "_") for _, told in tiny_quantised.WAYS.values()}
    assert tried == set(weight_format.house.plugin_names("weight_formats"))


def test_the_plan_prints_and_keeps_what_the_checkpoint_says(awq: Path) -> None:
    printed = command(awq, VLLM).output
    assert "target vllm, awq, engine vllm" in printed
    assert "weights    AWQ: 4-bit weights in groups of 32 with zero points" in printed
    assert "as they lie in the checkpoint, 1 part(s)" in printed
    stored = plan_of(awq).to_json()["stored"]
    kernel = {"method": "awq", "compute": "7.5", "below": ""}
    assert (stored["name"], stored["kernels"]) == ("awq", {"vllm": kernel})


def test_plain_plans_say_nothing_of_it() -> None:
    found = planned("llama-8b", "--gpu h200 --target vllm").to_json()
    assert not {"stored", "cache_type"} & found.keys()
    assert "kv_cache_dtype" not in found["engine_arguments"]


def test_a_target_that_takes_them_is_chosen_where_none_is_named(awq: Path) -> None:
    assert plan_of(awq, "--gpu h200").target == "vllm"


@pytest.mark.parametrize(
    ("way", "described", "line", "words"),
    [
        ("awq", {}, "--target onnx", ["which target onnx does not take", "plain weights", "--target vllm"]),
        ("awq", {}, "", ["does not run on a CPU", "--gpu"]),
        ("awq", {}, "--quantize bf16 --gpu h200", ["--quantize bf16", "AWQ", "--quantize awq"]),
        ("awq", {}, "--quantize gptq --gpu h200", ["quantised already", "--quantize awq"]),
        ("awq", {"bits": 8}, "--gpu h200 --target vllm", ["4 bits in the layout gemm, not 8 bits"]),
        ("awq", {"version": "gemv"}, "--gpu h200 --target vllm", ["not 4 bits in gemv"]),
        ("awq", {"group_size": 16}, "--gpu h200 --target vllm", ["not of 16"]),
        ("awq", {"zero_point": False}, "--gpu h200 --target vllm", ["without zero points"]),
        (
            "fp8-blocks",
            {"activation_scheme": "static"},
            "--gpu h200 --target vllm",
            ["dynamic activations, not with static"],
        ),
        (
            "modelopt-fp8",
            {"kv_cache_scheme": None, "kv_cache_quant_algo": "NVFP4"},
            "--gpu h200 --target vllm",
            ["KV cache of NVFP4"],
        ),
        ("gptq", {"sym": False}, "--gpu h200 --target vllm", ["not 4 bits, asymmetric"]),
        ("gptq", {"bits": 3}, "--gpu h200 --target vllm", ["not 3 bits, symmetric"]),
        ("modelopt-fp8", {}, "--gpu a100-40", ["compute capability 8.0", "at least 8.9", "modelopt"]),
        ("compressed-int8", {}, "--gpu b200", ["compute capability 10.0", "at least 7.5 and below 10.0"]),
        ("awq", {}, "--target llmapi --gpu h200", ["which target llmapi does not take"]),
        ("modelopt-fp8", {"quant_algo": "W4A8_AWQ"}, "--gpu h200 --target vllm", ["not W4A8_AWQ"]),
        ("compressed-int4", {"format": "marlin-24"}, "--gpu h200 --target vllm", ["not marlin-24"]),
        ("bitsandbytes-nf4", {}, "--gpu h200 --tp 2", ["cannot be shared by --tp 2", "--pp 2"]),
        ("awq", {}, "--gpu h200 --tp 2", ["within a group of 32"]),
        ("awq", {}, "--gpu h200 --kv-cache int3", ["--kv-cache int3", "fp16, fp8"]),
        ("awq", {}, "--gpu h200 --kv-cache bf16", ["beside fp16", "fp16, fp8"]),
    ],
)
def test_what_cannot_be_is_refused_with_what_was_found(
    way: str, described: dict[str, object], line: str, words: list[str], tmp_path: Path
) -> None:
    tiny_quantised.checkpoint(tmp_path / "model", way, **described)
    with pytest.raises(BuilderError) as refused:
        plan_of(tmp_path / "model", line)
    assert all(word in str(refused.value) for word in words), refused.value


@pytest.mark.parametrize(
    ("way", "described", "words"),
    [
        ("awq", {"quant_method": "hqq"}, ["quant_method 'hqq'", "awq, bitsandbytes"]),
        ("awq", {"bits": None}, ["says bits None", "type int"]),
        ("awq", {"group_size": True}, ["group_size True"]),
        ("fp8-blocks", {"weight_block_size": 128}, ["weight_block_size 128", "[128, 128]"]),
        ("compressed-int4", {"config_groups": {}}, ["no config_groups"]),
        ("compressed-int4", {"config_groups": {"group_0": "x"}}, ["group_0 'x'", "type dict"]),
        ("compressed-int4", {"config_groups": {"group_0": {"weights": 4}}}, ["weights 4", "type dict"]),
        (
            "compressed-int4",
            {"config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": "x"}}}},
            ["group_size 'x'", "type int"],
        ),
        (
            "compressed-int4",
            {"config_groups": {"group_0": {"weights": {"num_bits": 4}, "input_activations": [8]}}},
            ["input_activations [8]", "type dict"],
        ),
        ("awq", {"zero_point": "no"}, ["zero_point 'no'", "type bool"]),
        ("fp8-static", {"activation_scheme": "x"}, ["activation_scheme 'x'", "one of dynamic, static"]),
        ("fp8-blocks", {"weight_block_size": [128, 0]}, ["weight_block_size [128, 0]", "above 0"]),
        ("bitsandbytes-nf4", {"load_in_4bit": "x"}, ["load_in_4bit 'x'", "type bool"]),
        ("bitsandbytes-nf4", {"load_in_4bit": False}, ["load_in_4bit False", "one of them to be true"]),
        ("bitsandbytes-nf4", {"load_in_8bit": True}, ["load_in_8bit True and load_in_4bit True"]),
        ("bitsandbytes-nf4", {"bnb_4bit_quant_type": "x"}, ["bnb_4bit_quant_type 'x'", "nf4, fp4"]),
        ("modelopt-fp8", {"quantization": "FP8"}, ["quantization 'FP8'", "type dict"]),
        ("modelopt-fp8", {"quant_method": None, "producer": "x"}, ["producer 'x'", "type dict"]),
    ],
)
def test_a_description_that_says_too_little_is_an_error(
    way: str, described: dict[str, object], words: list[str], tmp_path: Path
) -> None:
    tiny_quantised.checkpoint(tmp_path / "model", way, **described)
    with pytest.raises(SourceError) as refused:
        plan_of(tmp_path / "model")
    assert all(word in str(refused.value) for word in words), refused.value


@pytest.mark.parametrize("way", tiny_quantised.WAYS)
@pytest.mark.parametrize(
    ("field", "tensor"), [("intermediate_size", "mlp.gate_proj"), ("vocab_size", "embed_tokens.weight")]
)
def test_shapes_follow_from_the_config(way: str, field: str, tensor: str, tmp_path: Path) -> None:
    tiny_quantised.checkpoint(tmp_path / "model", way)
    config = read_json(tmp_path / "model" / "config.json")
    tiny_quantised.write(tmp_path / "model" / "config.json", {**config, field: 10**30})
    with pytest.raises(SourceError, match=tensor) as refused:
        open_checkpoint(tmp_path / "model")
    assert "by its config" in refused.value.expected


def test_a_type_of_numbers_that_nobody_knows_is_an_error(awq: Path) -> None:
    config = read_json(awq / "config.json")
    tiny_quantised.write(awq / "config.json", {**config, "torch_dtype": "float17"})
    with pytest.raises(SourceError, match="torch_dtype 'float17'") as refused:
        plan_of(awq)
    assert refused.value.expected.startswith("one of float32, float16, bfloat16")


def test_a_quantised_checkpoint_that_lacks_a_matrix_is_not_read(awq: Path) -> None:
    config = read_json(awq / "config.json")
    tiny_quantised.write(awq / "config.json", {**config, "num_hidden_layers": 3})
    with pytest.raises(SourceError, match=r"lacks the tensor model\.layers\.2\."):
        open_checkpoint(awq)


@pytest.mark.parametrize("way", ["fp8-static", "modelopt-nvfp4", "bitsandbytes-nf4", "bitsandbytes-int8"])
def test_quantised_weights_that_nothing_describes_are_not_taken_for_plain_ones(
    way: str, tmp_path: Path
) -> None:
    tiny_quantised.checkpoint(tmp_path / "model", way)
    config = read_json(tmp_path / "model" / "config.json")
    del config["quantization_config"]
    tiny_quantised.write(tmp_path / "model" / "config.json", config)
    with pytest.raises(SourceError) as refused:
        open_checkpoint(tmp_path / "model")
    assert "model.layers.0.self_attn.q_proj.weight as " in refused.value.found
    assert "14 tensors alike" in refused.value.found
    assert "a quantization_config in config.json" in refused.value.expected


def test_a_description_that_is_nested_too_deeply_is_an_error(awq: Path) -> None:
    (awq / "config.json").write_text("[" * 100_000)
    with pytest.raises(SourceError, match="not valid JSON"):
        open_checkpoint(awq)


def test_its_own_name_may_be_asked_for(tmp_path: Path) -> None:
    tiny_quantised.checkpoint(tmp_path / "model", "compressed-int4")
    for name in ("compressed_tensors", "compressed-tensors"):
        assert plan_of(tmp_path / "model", f"{VLLM} --quantize {name}").quantize == "compressed_tensors"


def test_a_cache_in_8_bits_takes_half(awq: Path) -> None:
    half, whole = plan_of(awq, f"{VLLM} --kv-cache fp8"), plan_of(awq)
    assert 2 * half.memory.cache_per_token == whole.memory.cache_per_token
    assert half.memory.tokens > 1.9 * whole.memory.tokens
    assert half.engine_arguments["kv_cache_dtype"] == "fp8_e4m3"
    assert half.engine_arguments["kv_cache_memory_bytes"] == half.memory.cache
    assert "1 byte of fp8" in command(awq, f"{VLLM} --kv-cache fp8").output


def test_a_plain_checkpoint_may_have_a_cache_in_8_bits_too() -> None:
    found = planned("llama-8b", "--gpu h200 --target vllm --kv-cache fp8")
    assert found.memory.cache_per_token == 2 * 32 * 8 * 128
    assert (found.quantize, found.cache_type) == ("bf16", "fp8")


@pytest.mark.parametrize(
    ("name", "line", "told", "element"),
    [
        # a float16 scale for each 32 numbers
        ("smollm2", "--target llamacpp --quantize q8_0", {"cache_type": "q8_0"}, 2 * 30 * 3 * 64 * 34 / 32),
        # a float32 scale for each head of 128 would be 132: never less than it takes
        ("llama-8b", "--gpu h200 --target vllm", {"kv_cache_dtype": "int8_per_token_head"}, 2 * 32 * 8 * 136),
    ],
)
def test_a_cache_in_whole_numbers_is_counted_with_its_scales(
    name: str, line: str, told: dict[str, str], element: float
) -> None:
    found = planned(name, f"{line} --kv-cache int8")
    assert found.memory.cache_per_token == element
    assert told.items() <= found.engine_arguments.items()
    assert found.cache_type == "int8"


def test_a_cache_in_8_bits_allows_weights_in_fewer_what_they_may_lose() -> None:
    for precision_, budget in (("q4_k_m", q4_k_m.QUANTIZATION.budget), ("fp16", precision.ROUNDED)):
        found = planned("smollm2", f"--target llamacpp --quantize {precision_} --kv-cache int8")
        assert found.limits == budget.held_out


def test_a_cache_that_the_checkpoint_was_calibrated_for_is_planned(tmp_path: Path) -> None:
    for way in ("compressed-fp8", "modelopt-fp8"):
        tiny_quantised.checkpoint(tmp_path / way, way)
        stated, asked = plan_of(tmp_path / way), plan_of(tmp_path / way, f"{VLLM} --kv-cache fp16")
        assert (stated.cache_type, stated.engine_arguments["kv_cache_dtype"]) == ("fp8", "fp8_e4m3")
        assert 2 * stated.memory.cache_per_token == asked.memory.cache_per_token
        assert asked.engine_arguments["kv_cache_dtype"] == "float16"


@pytest.mark.parametrize(
    "line", ["--kv-cache fp8", "--set engine.kv_cache_dtype=fp8 --gpu h200 --target vllm"]
)
def test_a_cache_type_has_one_option_and_is_of_targets_that_have_it(line: str) -> None:
    with pytest.raises(BuilderError, match="--kv-cache"):
        planned("smollm2", line)


def test_what_a_recipe_says_of_its_checkpoint_is_estimated(awq: Path) -> None:
    stored = weight_format.read(read_json(awq / "config.json"))
    assert stored is not None
    sizes = read("tiny", str(awq), None)[0].dimensions
    matrices = sizes.parameters - 16 * 32
    found = precision.quantization_of("awq", stored, "", sizes)
    assert memory.weight_bytes(sizes, found) == int(matrices * (4 + 20 / 32) / 8) + 16 * 32 * 2  # type: ignore[arg-type]


def test_budgets_follow_from_what_is_rounded(tmp_path: Path) -> None:
    budgets = {}
    for way in ("awq", "fp8-blocks"):
        tiny_quantised.checkpoint(tmp_path / way, way)
        found = plan_of(tmp_path / way)
        chosen = precision.quantization_of(found.quantize, found.stored, "", found.dimensions)
        budgets[way] = chosen.budget.divergence
    assert budgets == {"awq": 0.02, "fp8-blocks": 0.05}
    with_cache = precision.quantization_of("bf16", None, "fp8", found.dimensions)
    assert (with_cache.budget, with_cache.cache_bytes) == (precision.ROUNDED, 1)
