"""A whole checkpoint rounded by AWQ, of several families: what is folded, what is lost, what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_decoders
from rounded_decoders import FAMILIES, GROUP, read, written

pytest.importorskip("torch")

from builder.calibration import texts
from builder.errors import BuilderError
from builder.exporting import awq, by_texts, folding, inputs
from builder.exporting.layers import Layers
from builder.ranks import convert, family
from builder.ranks.convert import Ranks
from builder.ranks.division import Division

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

WHOLE = [*FAMILIES, ("llama", {"num_key_value_heads": 8, "attention_bias": True})]
"""The last with a value for each head, whose rows take what the output's inputs are scaled with."""


def heard(folder: Path) -> tuple[Layers, Any, list[Any], inputs.Layer]:
    """Return the first layer, what it reads, and what its matrices do."""
    prepared = convert.prepare(folder, Ranks(Division(1), "fp32"))
    layers = Layers(prepared)
    model = layers.model(0)
    states = layers.embedded([[5, 9, 13, 2, 60, 7], [1, 2, 3]])
    named = family.decoder(prepared.checkpoint.model_type).HUGGING_FACE.items()
    types = {one.info.name: one.info.dtype for one in prepared.sources}
    names = {role: name.format(layer=0) for role, name in named if "{layer}" in name}
    names = {role: name for role, name in names.items() if name in types}
    of_roles = {role: types[name] for role, name in names.items()}
    return layers, model, states, inputs.heard(layers, model, states, names, of_roles)


@pytest.mark.parametrize(("model_type", "changed"), WHOLE)
def test_a_folded_layer_computes_as_before(tmp_path: Path, model_type: str, changed: dict[str, Any]) -> None:
    import torch

    written(tmp_path / "source", model_type, **changed)
    torch.manual_seed(0)
    with torch.no_grad():
        layers, model, states, layer = heard(tmp_path / "source")
        before = [layers.run(model, state) for state in states]
        tensors = {role: layer.tensor(role) for role in layer.names}
        scales: dict[str, Any] = {}
        for readers in inputs.READERS:
            if folding.can_scale(layer, readers[0]):
                drawn = torch.rand(layer.module(readers[0]).in_features) * 3 + 0.2
                scales |= dict.fromkeys(readers, folding.foldable(layer, readers[0], drawn))
        for role, value in folding.folded(tensors, scales).items():
            layer.replace(role, value)
        after = [layers.run(model, state) for state in states]
    assert ("attention_output" in scales) == (changed.get("num_key_value_heads") == 8)
    for one, other in zip(before, after, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("model_type", "changed"), WHOLE)
def test_matrices_change_to_numbers_of_the_grid_and_norms_take_their_scales(
    tmp_path: Path, model_type: str, changed: dict[str, Any]
) -> None:
    import torch

    weights = written(tmp_path / "source", model_type, **changed)
    data = texts.first(texts.read(), 12)
    by_texts.write(awq.METHOD, tmp_path / "source", tmp_path / "out", GROUP, data, 64)
    found = read(tmp_path / "out")
    assert set(found) == set(weights)
    for name, before in weights.items():
        after = found[name]
        if re.search(r"_proj\.weight$", name):
            assert max(len(row.unique()) for row in after.reshape(-1, GROUP)) <= 16
        elif not re.search(r"layernorm\.weight$|v_proj\.bias$|up_proj\.bias$", name):
            assert torch.equal(after, torch.from_numpy(before)), name
    kept = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert (kept["quant_algo"], kept["group_size"], kept["steps"]) == ("awq", GROUP, 20)


def test_a_norm_of_fewer_bits_is_written_as_it_was_computed_with(tmp_path: Path) -> None:
    """What bfloat16 makes of norm / scale is divided out of the matrices: nothing of it is lost."""
    import torch

    weights = written(tmp_path / "source", "llama")
    told = json.loads((tmp_path / "source" / "config.json").read_text())
    halves = {name: torch.as_tensor(one).bfloat16() for name, one in weights.items()}
    tiny_decoders.write(tmp_path / "half", told, halves)
    with torch.no_grad():
        layer = heard(tmp_path / "half")[-1]
        norm = layer.tensor("input_norm")
        scale = folding.foldable(layer, "query", torch.rand(len(norm)) * 3 + 0.2)
    folded = norm / scale
    assert torch.allclose(folded.bfloat16().float() * scale, norm, rtol=1e-6)


def test_a_norm_that_is_not_in_proportion_to_its_weight_is_refused(tmp_path: Path) -> None:
    import torch

    written(tmp_path / "source", "llama")
    with torch.no_grad():
        _, model, _, layer = heard(tmp_path / "source")
        norm = model.model.layers[0].input_layernorm
        norm.forward = lambda states: states * (1 + norm.weight)
        with pytest.raises(BuilderError) as caught:
            folding.can_scale(layer, "query")
    for word in ("input_layernorm", "RMSNorm such as Llama's", "--quantize gptq"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "damage", "words"),
    [
        ({}, np.nan, ["1 NaN or infinite values", "fetch the file again"]),
        ({"intermediate_size": 96}, None, ["96 inputs", "no whole groups of 64", "--quantize int4"]),
    ],
)
def test_weights_that_cannot_be_rounded_are_refused_before_a_text_is_read(
    tmp_path: Path, changed: dict[str, Any], damage: Any, words: list[str]
) -> None:
    weights = written(tmp_path / "source", "llama", **changed)
    if damage is not None:
        weights["model.layers.1.mlp.up_proj.weight"][3, 5] = damage
    told = json.loads((tmp_path / "source" / "config.json").read_text())
    tiny_decoders.write(tmp_path / "source", told, weights)
    with pytest.raises(BuilderError) as caught:
        by_texts.write(awq.METHOD, tmp_path / "source", tmp_path / "out", GROUP, texts.read(), 64)
    assert all(word in str(caught.value) for word in words)
    assert not (tmp_path / "out").exists()


def test_experts_are_refused(tmp_path: Path) -> None:
    told = tiny_decoders.config("mixtral", num_local_experts=2)
    tiny_decoders.write(tmp_path / "source", told, tiny_decoders.weights(told))
    with pytest.raises(BuilderError, match="few tokens reach each"):
        by_texts.write(awq.METHOD, tmp_path / "source", tmp_path / "out", GROUP, texts.read(), 64)


def test_inputs_that_are_all_the_same_are_refused(tmp_path: Path) -> None:
    """A tokenizer that knows no word gives one token for all: nothing can be learned of what is read."""
    written(tmp_path / "source", "llama", words=False)
    with pytest.raises(BuilderError) as caught:
        by_texts.write(awq.METHOD, tmp_path / "source", tmp_path / "out", GROUP, texts.read(), 64)
    for word in ("layers.0.self_attn.q_proj", "inputs were the same", "--quantize int4_g64"):
        assert word in str(caught.value)
