"""A whole checkpoint rounded by GPTQ, of several families, and what it cannot be calibrated with."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_decoders
from rounded_decoders import FAMILIES, GROUP, read, written

from builder.calibration import texts
from builder.errors import BuilderError
from builder.exporting import by_texts, compensating, gptq
from builder.exporting.inputs import Inputs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        importlib.util.find_spec("modelopt") is None,
        reason="what calibrates is nvidia-modelopt==0.47.0: pip install -e .[tensorrtllm]",
    ),
]


@pytest.mark.parametrize(("model_type", "changed"), FAMILIES)
def test_only_matrices_of_layers_change_and_to_numbers_of_the_grid(
    tmp_path: Path, model_type: str, changed: dict[str, Any]
) -> None:
    import torch

    weights = written(tmp_path / "source", model_type, **changed)
    done: list[tuple[int, int]] = []
    data = texts.first(texts.read(), 12)
    by_texts.write(
        gptq.METHOD, tmp_path / "source", tmp_path / "out", GROUP, data, 64, lambda *one: done.append(one)
    )
    found = read(tmp_path / "out")
    assert set(found) == set(weights) and done == [(1, 2), (2, 2)]
    for name, before in weights.items():
        after = found[name]
        if re.search(r"_proj\.weight$", name):
            apart = (after - torch.from_numpy(before)).norm() / np.linalg.norm(before)
            assert 0.01 < apart < 0.3, name
            of_a_group = after.reshape(-1, GROUP)
            assert max(len(row.unique()) for row in of_a_group) <= 16
        else:
            assert torch.equal(after, torch.from_numpy(before)), name
    kept = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert 0 < kept["sequences"] <= 12 and kept["longest"] == 64 and kept["file"] == "shipped"


def test_the_whole_answers_more_like_its_source_than_by_rounding_to_the_nearest(tmp_path: Path) -> None:
    import torch
    import transformers

    weights = written(tmp_path / "source", "llama")
    by_texts.write(gptq.METHOD, tmp_path / "source", tmp_path / "out", GROUP, texts.read(), 128)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "source")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "source")
    others = texts.sequences(texts.read(texts.HELD_OUT, "--evaluate"), tokenizer, 64)[:16]

    def model(tensors: dict[str, Any]) -> Any:
        return transformers.LlamaForCausalLM.from_pretrained(
            None, config=config, state_dict={name: torch.as_tensor(one) for name, one in tensors.items()}
        ).eval()

    def nearest(name: str, weight: Any) -> Any:
        if not name.endswith("_proj.weight"):
            return weight
        groups = torch.from_numpy(weight).reshape(weight.shape[0], -1, GROUP)
        scale = groups.abs().amax(dim=2, keepdim=True) / 8
        return ((groups / scale).round().clamp(-8, 7) * scale).reshape(weight.shape)

    source, ours = model(weights), model(read(tmp_path / "out"))
    rounded = model({name: nearest(name, one) for name, one in weights.items()})
    with torch.no_grad():
        ids = [torch.tensor([one]) for one in others]
        apart = [
            sum(float((source(one).logits - each(one).logits).square().mean()) for one in ids)
            for each in (ours, rounded)
        ]
    assert apart[0] < 0.8 * apart[1]


def test_it_rounds_as_modelopts_own_update_of_the_whole_matrix() -> None:
    import torch
    from modelopt.torch.quantization.utils import calib_utils

    torch.manual_seed(0)
    weight, inputs = torch.randn(24, 256), Inputs(256)
    mixed = torch.randn(256, 256)
    for _ in range(4):
        inputs.add(torch.randn(1, 200, 256) @ mixed)
    products = inputs.of("some.weight")
    ours = compensating.rounded(weight, products, GROUP)
    wide = ours.scales.float().repeat_interleave(GROUP, dim=1)

    def whole(now: Any) -> Any:
        return (now / wide).round().clamp(-8, 7) * wide

    theirs = weight.clone()
    inverse = calib_utils.compute_hessian_inverse(products, theirs, compensating.DAMPING)
    calib_utils.gptq_blockwise_update(theirs, inverse, compensating.COLUMNS, whole)
    assert torch.allclose(ours.weight(), theirs, atol=1e-5)
    # what the matrix makes of its inputs is nearer than by rounding each number alone
    lost = [float(((one - weight) @ products @ (one - weight).T).trace()) for one in (theirs, whole(weight))]
    assert lost[0] < 0.7 * lost[1]


@pytest.mark.parametrize(
    ("changed", "damage", "words"),
    [
        ({}, np.nan, ["1 NaN or infinite values", "fetch the file again"]),
        ({}, "same", ["the same value in all", "nothing to quantise in a constant"]),
        ({"intermediate_size": 96}, None, ["96 inputs", "no whole groups of 64", "--quantize int4"]),
    ],
)
def test_weights_that_cannot_be_rounded_are_refused_before_a_text_is_read(
    tmp_path: Path, changed: dict[str, Any], damage: Any, words: list[str]
) -> None:
    weights = written(tmp_path / "source", "llama", **changed)
    name = "model.layers.1.mlp.up_proj.weight"
    if damage == "same":
        weights[name] = np.full_like(weights[name], 0.25)
    elif damage is not None:
        weights[name][3, 5] = damage
    told = json.loads((tmp_path / "source" / "config.json").read_text())
    tiny_decoders.write(tmp_path / "source", told, weights)
    with pytest.raises(BuilderError) as caught:
        by_texts.write(gptq.METHOD, tmp_path / "source", tmp_path / "out", GROUP, texts.read(), 64)
    assert all(word in str(caught.value) for word in words)
    assert not (tmp_path / "out").exists()


def test_inputs_that_are_all_the_same_are_refused(tmp_path: Path) -> None:
    """A tokenizer that knows no word gives one token for all: nothing can be learned of what is read."""
    written(tmp_path / "source", "llama", words=False)
    with pytest.raises(BuilderError) as caught:
        by_texts.write(gptq.METHOD, tmp_path / "source", tmp_path / "out", GROUP, texts.read(), 64)
    for word in ("layers.0.self_attn.q_proj", "inputs were the same", "--quantize int4_g64"):
        assert word in str(caught.value)


def test_inputs_that_are_no_numbers_are_refused() -> None:
    import torch

    inputs = Inputs(4)
    with pytest.raises(BuilderError, match="no token reached it"):
        inputs.of("some.weight")
    inputs.add(torch.tensor([[1.0, 2.0, torch.nan, 4.0], [1.0, 1.0, 1.0, 1.0]]))
    with pytest.raises(BuilderError, match="infinite, or no numbers"):
        inputs.of("some.weight")
