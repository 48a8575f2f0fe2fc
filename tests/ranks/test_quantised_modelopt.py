"""Quantised ranks equal, bit for bit, what ModelOpt's own exporter writes of the same calibrated model."""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import quantised_decoders
import tiny_decoders
from test_modelopt import compare_configs, model_of, unstacked

from builder import complaint
from builder.calibration import texts
from builder.exporting import calibrating, tensorrt_llm_quantised
from builder.exporting.tensorrt_llm import share
from builder.ranks import quantization
from builder.ranks.convert import Prepared, Ranks
from builder.ranks.division import Division
from builder.ranks.matrices import Measured
from builder.ranks.quantised import Quantised, convert_quantised
from builder.ranks.stored import convert_stored

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        importlib.util.find_spec("modelopt") is None,
        reason="what calibrates is nvidia-modelopt==0.47.0: pip install -e .[tensorrtllm]",
    ),
]

WAYS = [
    ("llama", {}, "fp8", True, Division(1)),
    ("llama", {"tie_word_embeddings": True}, "fp8", True, Division(2, 2)),
    ("llama", {"num_key_value_heads": 1}, "fp8", False, Division(2)),
    ("llama", {}, "awq", False, Division(1)),
    ("llama", {"attention_bias": True, "mlp_bias": True}, "awq", True, Division(2)),
    ("llama", {"num_key_value_heads": 1}, "awq", False, Division(2)),
    ("llama", {}, "w4a8_awq", False, Division(1)),
    ("llama", {}, "w4a8_awq", False, Division(2)),
    ("llama", {}, "smoothquant", False, Division(1)),
    ("llama", {}, "smoothquant", True, Division(2)),
    ("mistral", {"sliding_window": 8}, "fp8", True, Division(2)),
    ("qwen2", {}, "fp8", True, Division(1)),
    ("qwen2", {}, "awq", False, Division(2)),
    ("qwen2", {}, "smoothquant", False, Division(2)),
    ("qwen3", {}, "w4a8_awq", False, Division(2)),
    ("mixtral", {"num_local_experts": 4}, "fp8", True, Division(1)),
    ("mixtral", {"num_local_experts": 4}, "fp8", False, Division(2)),
]


def calibrated(method: str, cache: bool, model: Any) -> None:
    """Calibrate as ModelOpt's examples do, by the same data."""
    import modelopt.torch.quantization as reference
    import torch

    preset = copy.deepcopy(getattr(reference, quantization.load(method).PRESET))
    if cache:
        preset["quant_cfg"] += reference.FP8_KV_CFG["quant_cfg"]
    if method == "smoothquant":
        preset["algorithm"] = {"method": "smoothquant", "alpha": 0.85}

    def run(model: Any) -> None:
        for ids in quantised_decoders.SEQUENCES:
            model(torch.tensor([ids]))

    reference.quantize(model, preset, run)


def measures(asked: Quantised, room: Path) -> Any:
    def measure(prepared: Prepared, names: Sequence[str]) -> tuple[Measured, Mapping[str, Any]]:
        room.mkdir()
        return calibrating.measure(prepared, names, quantised_decoders.SEQUENCES, asked, room), {}

    return measure


def loaded(folder: Path, dtype: Any) -> Any:
    """Return transformers' model, whose experts' multiplications a quantiser can watch."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, local_files_only=True, experts_implementation="eager"
    )
    return model.eval()


@pytest.mark.parametrize(("number", "way"), enumerate(WAYS))
def test_same_bits(number: int, way: tuple[str, dict[str, Any], str, bool, Division], tmp_path: Path) -> None:
    import modelopt.torch.export as reference
    import torch
    from safetensors.torch import load_file

    (model_type, extra, method, cache, division), dtype = way, ("float16", "bfloat16")[number % 2]
    model = model_of(
        tiny_decoders.config(model_type, **{**quantised_decoders.SIZES, **extra}), getattr(torch, dtype)
    )
    model.save_pretrained(tmp_path / "source")
    (tmp_path / "source" / "tokenizer.json").write_text("{}")
    asked = Quantised(Ranks(division, parallel_embedding=True), method, cache)
    convert_quantised(tmp_path / "source", tmp_path / "ours", asked, measures(asked, tmp_path / "room"))

    # not the model that was saved: of that the rotary buffer is in 16 bits too
    model = loaded(tmp_path / "source", getattr(torch, dtype))
    calibrated(method, cache, model)
    if model_type == "mixtral":
        model = with_calibrated_experts(model, method)
    reference.export_tensorrt_llm_checkpoint(
        model,
        "qwen" if model_type.startswith("qwen") else "llama",
        getattr(torch, dtype),
        tmp_path / "theirs",
        inference_tensor_parallel=division.tensor,
        inference_pipeline_parallel=division.pipeline,
    )
    for rank in range(division.ranks):
        ours = load_file(tmp_path / "ours" / f"rank{rank}.safetensors")
        theirs = load_file(tmp_path / "theirs" / f"rank{rank}.safetensors")
        assert ours.keys() == theirs.keys()
        for name, values in theirs.items():
            assert ours[name].dtype == values.dtype, name
            assert ours[name].shape == values.shape, name
            assert torch.equal(ours[name].view(torch.uint8), values.view(torch.uint8)), name
    compare_configs(tmp_path)
    ours, theirs = (json.loads((tmp_path / who / "config.json").read_text()) for who in ("ours", "theirs"))
    kept, excluded = (one["quantization"].pop("exclude_modules") for one in (ours, theirs))
    assert excluded and all(any(fnmatch(name, pattern) for pattern in kept) for name in excluded)
    assert ours["quantization"] == theirs["quantization"]


@pytest.mark.parametrize(("method", "cache"), [("fp8", True), ("awq", False)])
def test_its_checkpoints_for_hugging_face_give_the_same_ranks(
    method: str, cache: bool, tmp_path: Path
) -> None:
    import modelopt.torch.export as reference
    import torch
    from safetensors.torch import load_file

    quantised_decoders.write(tmp_path / "source", "llama", torch_dtype="float16")
    asked = Quantised(Ranks(Division(2)), method, cache)
    convert_quantised(tmp_path / "source", tmp_path / "ours", asked, measures(asked, tmp_path / "room"))
    model = loaded(tmp_path / "source", torch.float16)
    model.config.architectures = [type(model).__name__]
    calibrated(method, cache, model)
    reference.export_hf_checkpoint(model, torch.float16, tmp_path / "stored")
    (tmp_path / "stored" / "tokenizer.json").write_text("{}")
    convert_stored(tmp_path / "stored", tmp_path / "taken", Ranks(Division(2)))

    for rank in range(2):
        ours, taken = (load_file(tmp_path / who / f"rank{rank}.safetensors") for who in ("ours", "taken"))
        assert ours.keys() == taken.keys()
        # there the norms smooth what reads them: only what reads no norm is as it was
        same = [name for name in ours if method == "fp8" or "attention.dense" in name or "mlp.proj" in name]
        assert len(same) > 10
        for name in same:
            one, other = ours[name].float(), taken[name].float()
            if ours[name].dtype == torch.float8_e4m3fn:
                # its two exporters divide in float32 and float16; this one has a scale for keys
                step = torch.maximum(one.abs(), other.abs()) * 2.0**-3 + 2.0**-9
                assert ((one - other).abs() <= step).all(), name
            else:
                torch.testing.assert_close(one, other, rtol=2e-7, atol=0, msg=name)
    told = [json.loads((tmp_path / who / "config.json").read_text()) for who in ("ours", "taken")]
    assert told[0]["quantization"] == told[1]["quantization"]


def with_calibrated_experts(model: Any, method: str) -> Any:
    """Give a calibrated Mixtral the layers that the exporter reads, and what was measured of them."""
    import modelopt.torch.quantization as reference

    preset = getattr(reference, quantization.load(method).PRESET)
    for layer in model.model.layers:
        experts = layer.mlp.experts
        layer.mlp.experts.gate_up_proj.data = experts.gate_up_proj.data
    inputs = [
        (
            layer.mlp.experts.gate_up_proj_input_quantizer.amax,
            layer.mlp.experts.down_proj_input_quantizer.amax,
        )
        for layer in model.model.layers
    ]
    model = unstacked(model)
    for layer, (gate_up, down) in zip(model.model.layers, inputs, strict=True):
        block = reference.quantize(layer.block_sparse_moe, preset, lambda _: None)
        block.gate.input_quantizer.disable()
        block.gate.weight_quantizer.disable()
        for expert in block.experts:
            for name, largest in (("w1", gate_up), ("w2", down), ("w3", gate_up)):
                linear = getattr(expert, name)
                linear.input_quantizer.amax = largest
                linear.weight_quantizer.amax = linear.weight.abs().max()
    return model


def with_tokenizer(folder: Path) -> None:
    """Give a folder a tokenizer that knows each byte, and a chat template."""
    import tokenizers

    vocabulary = {chr(number): number for number in range(32, 127)} | {"?": 0}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    tokenizer.save(str(folder / "tokenizer.json"))
    template = "{% for one in messages %}{{ one['role'] + ': ' + one['content'] }}{% endfor %}"
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    asked = Quantised(Ranks(Division(2)), "awq", cache=True)
    command = tensorrt_llm_quantised.command(folder / "source", folder / "out", asked)
    return subprocess.run([*command, *more], capture_output=True, text=True, timeout=500)


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    quantised_decoders.write(tmp_path / "source", "llama")
    with_tokenizer(tmp_path / "source")
    ran = run(tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert share(ran.stdout) == 1
    told = [int(line.split()[1]) for line in ran.stdout.splitlines() if line.startswith("converted")]
    assert told == sorted(set(told)) and len(told) > 20
    names = ["calibration.json", "config.json", "rank0.safetensors", "rank1.safetensors"]
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == names
    data = texts.read()
    record = json.loads((tmp_path / "out" / "calibration.json").read_text())
    # cut to this model's 64 tokens the shipped texts are less than they are
    cut = [[1] * (record["tokens"] - 34), *([2 + number] for number in range(34))]
    assert record.get("warning", "") == texts.doubt(data, cut)
    assert (f"warning: {record.get('warning')}" in ran.stdout) == ("warning" in record)
    record.pop("warning", None)
    assert record.pop("tokens") > 35 * 20
    assert record == {
        "quant_algo": "W4A16_AWQ",
        "modelopt": metadata.version("nvidia-modelopt"),
        "preset": "INT4_AWQ_CFG",
        "file": "shipped",
        "sha256": data.sha256,
        "sequences": len(data.prompts),
        "longest": 64,
    }


def test_a_layer_that_sees_nothing_is_refused(tmp_path: Path) -> None:
    weights = quantised_decoders.write(tmp_path / "source", "llama")
    weights["model.layers.1.input_layernorm.weight"][:] = 0
    quantised_decoders.rewrite(tmp_path / "source", weights)
    with_tokenizer(tmp_path / "source")
    ran = run(tmp_path, "--method", "fp8")
    assert ran.returncode == 1
    told = complaint.read(ran.stderr)
    assert "model.layers.1.self_attn.q_proj: the largest of its inputs was 0.0" in told.found
    assert "more varied" in told.remedy
    assert [one.name for one in tmp_path.iterdir()] == ["source"]
