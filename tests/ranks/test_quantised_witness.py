"""The witness reads quantised ranks: it answers as their source does, but for what rounding moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quantised_decoders
import tiny_decoders
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from builder.proving import rank_numbers, tensorrt_llm_ranks
from builder.ranks.convert import Prepared, Ranks
from builder.ranks.division import Division
from builder.ranks.matrices import Measured
from builder.ranks.quantised import Quantised, convert_quantised

IDS = [3, 14, 15, 92, 65, 35, 89]
CASES = [
    ("llama", "fp8", Division(2), 0.99),
    ("qwen2", "awq", Division(2), 0.9),
    ("llama", "w4a8_awq", Division(1), 0.9),
    ("mistral", "smoothquant", Division(2), 0.999),
    ("mixtral", "fp8", Division(4, 1, 2), 0.99),
]


def watched(model: Any) -> tuple[dict[str, Any], list[Any]]:
    """Return what will have been the inputs of each matrix by its name, and the hooks that see them."""
    seen: dict[str, Any] = {}

    def hook(name: str) -> Callable[[Any, Any], None]:
        return lambda module, values: seen.__setitem__(f"{name}.weight", values[0])

    linears = [(name, one) for name, one in model.named_modules() if isinstance(one, torch.nn.Linear)]
    return seen, [one.register_forward_pre_hook(hook(name)) for name, one in linears]


def measured(method: str, seen: Mapping[str, Any]) -> Any:
    """Return a measurement that smooths by chance, and knows how large inputs get that were seen."""
    made_up = quantised_decoders.made_up(method)

    def measure(prepared: Prepared, names: Sequence[str]) -> tuple[Measured, Mapping[str, Any]]:
        told, record = made_up(prepared, names)
        found = dict(told.matrices)
        for name in seen.keys() & found.keys():
            smoothing = 1.0 if found[name].smoothing is None else found[name].smoothing.float()
            found[name] = replace(found[name], input=(seen[name] * smoothing).abs().max())
        return Measured(found, told.caches), record

    return measure


@pytest.mark.parametrize(("family", "method", "division", "least"), CASES)
def test_quantised_ranks_answer_nearly_as_their_source(
    family: str, method: str, division: Division, least: float, tmp_path: Path
) -> None:
    more = {"num_local_experts": 4, "num_experts_per_tok": 4} if family == "mixtral" else {}
    told = tiny_decoders.config(family, **{**quantised_decoders.SIZES, **more})
    # small enough for every layer to count
    weights = {name: (one / 16).astype(np.float16) for name, one in tiny_decoders.weights(told).items()}
    source = tiny_decoders.write(tmp_path / "source", told, weights)
    out = tmp_path / "model" / "checkpoint"
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    seen, hooks = watched(model)
    with torch.inference_mode():
        expected = model(torch.tensor([IDS])).logits[0, 2:].numpy()
    for hook in hooks:
        hook.remove()
    convert_quantised(source, out, Quantised(Ranks(division), method), measured(method, seen))
    witness = tensorrt_llm_ranks.load(tmp_path / "model", {})
    found = np.stack([witness.start(IDS[:3], 9), *(witness.append(one) for one in IDS[3:])])
    alike = np.corrcoef(found.ravel(), expected.ravel())[0, 1]
    assert least < alike < 1 - 1e-9


def test_inputs_by_hand() -> None:
    """Steps of 0.5: 1.3 is nearest to three, 100 is more than there are; smoothed by 2, to five."""
    plain = rank_numbers.Inputs(torch.tensor([0.5]))
    found = plain.rounded(torch.tensor([1.3, 100.0, -100.0, 0.0]), float8=False)
    assert found.tolist() == [1.5, 63.5, -64.0, 0.0]
    smoothed = rank_numbers.Inputs(torch.tensor([0.5]), torch.tensor([2.0, 1.0]))
    assert smoothed.rounded(torch.tensor([1.3, 1.3]), float8=False).tolist() == [1.25, 1.5]
    # 17.2 steps lie between 16 and 18 of float8, which has nothing above 448
    assert plain.rounded(torch.tensor([8.6, 1000.0]), float8=True).tolist() == [9.0, 224.0]


@pytest.mark.parametrize("module", ["self_attn.o_proj", "mlp.gate_proj"])
@pytest.mark.parametrize(("method", "largest"), [("smoothquant", 127), ("w4a8_awq", 448), ("fp8", 448)])
def test_matrices_see_inputs_as_the_ranks_scale_them(
    method: str, largest: int, module: str, tmp_path: Path
) -> None:
    """By the scales of two ranks, of which each has half of what the outputs of attention are smoothed by."""
    (tmp_path / "model").mkdir()
    quantised_decoders.converted(tmp_path, "llama", method, Division(2), num_hidden_layers=1)
    (tmp_path / "out").rename(tmp_path / "model" / "checkpoint")
    witness = tensorrt_llm_ranks.load(tmp_path / "model", {})
    name = {"self_attn.o_proj": "attention.dense", "mlp.gate_proj": "mlp.fc"}[module]
    ranks = [load_file(tmp_path / "model" / "checkpoint" / f"rank{one}.safetensors") for one in (0, 1)]
    prefix = f"transformer.layers.0.{name}."
    held = [{one.removeprefix(prefix): rank[one] for one in rank if one.startswith(prefix)} for rank in ranks]
    linear = witness._model.get_submodule(f"model.layers.0.{module}")
    values = (torch.rand(3, 256) - 0.5) * 3
    smoothing = torch.ones(256)
    if "prequant_scaling_factor" in held[0]:
        parts = [one["prequant_scaling_factor"].float() for one in held]
        smoothing = torch.cat(parts) if name == "attention.dense" else parts[0]
    steps = values * smoothing / held[0]["activation_scaling_factor"]
    steps = steps.round() if largest == 127 else steps.to(torch.float8_e4m3fn).float()
    assert steps.abs().max() < largest
    expected = steps * held[0]["activation_scaling_factor"] / smoothing @ linear.weight.T
    torch.testing.assert_close(linear(values), expected, rtol=1e-4, atol=1e-3)
    assert not torch.allclose(values @ linear.weight.T, expected, rtol=1e-4, atol=1e-3)
