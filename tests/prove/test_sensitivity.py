"""What a part loses alone: by the shortcut as by the long way, and by errors squared as by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_decoders

from builder import architecture
from builder.architecture import tensor_names
from builder.gguf import parts
from builder.proving import sensitivity

pytest.importorskip("gguf")
pytest.importorskip("cyllama")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from builder.proving.layers import Layers  # noqa: E402
from builder.proving.rounded import Rounded  # noqa: E402

SIZES = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "head_dim": 16,
    "rms_norm_eps": 1e-5,
}
ROWS = [[int(one) for one in row] for row in np.random.default_rng(1).integers(3, 120, (2, 12))]


def quiet(doing: str, done: int, total: int) -> None:
    """Hear nothing of how far it is."""


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    asked = tiny_decoders.config("llama", **SIZES, tie_word_embeddings=request.param)
    tensors = {name: one / 4 for name, one in tiny_decoders.weights(asked).items()}
    return tiny_decoders.write(tmp_path / "source", asked, tensors)


def model_of(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def named(folder: Path) -> tuple[Any, dict[parts.Place, str]]:
    family: Any = architecture.load("llama")
    sizes = family.dimensions(json.loads((folder / "config.json").read_text()))
    return sizes, {(role, layer): name for role, layer, name in tensor_names(family.HUGGING_FACE, sizes)}


def long_way(folder: Path, changed: dict[str, Any]) -> float:
    """Return the divergence by two whole models."""
    one, other = model_of(folder), model_of(folder)
    found = dict(other.named_parameters())
    for name, tensor in changed.items():
        found[name].data = tensor
    ids = torch.tensor(ROWS)
    left, right = (torch.log_softmax(each(ids).logits[:, :-1].double(), -1) for each in (one, other))
    return float((left.exp() * (left - right)).sum(-1).mean())


@torch.inference_mode()
def test_a_part_is_measured_as_by_two_whole_models(folder: Path, tmp_path: Path) -> None:
    sizes, names = named(folder)
    model = model_of(folder)
    layers = Layers(model, ROWS)
    (tmp_path / "scratch").mkdir()
    rounded = Rounded(folder, tmp_path / "scratch", ["Q2_K", "Q8_0"], layers.weighed(names), quiet)
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    for part, places in parts.parts_of(sizes).items():
        changed = {names[place]: rounded.values(place, "Q2_K") for place in places}
        found = layers.divergence(changed, places[0][1])
        assert found == pytest.approx(long_way(folder, changed), rel=0.02, abs=1e-6), part
        assert found > 1e-6, part
        assert rounded.error(places, "Q8_0") < rounded.error(places, "Q2_K") / 50
    for name, tensor in model.named_parameters():
        assert torch.equal(tensor, before[name]), name


@torch.inference_mode()
def test_nothing_changed_loses_nothing(folder: Path) -> None:
    assert Layers(model_of(folder), ROWS).divergence({}, 2) == pytest.approx(0, abs=1e-7)


@torch.inference_mode()
def test_inputs_are_squared_and_averaged_for_matrices_and_one_for_rows_looked_up(folder: Path) -> None:
    sizes, names = named(folder)
    model = model_of(folder)
    weighed = Layers(model, ROWS).weighed(names)
    hidden = model.model.embed_tokens(torch.tensor(ROWS))
    normed = model.model.layers[0].input_layernorm(hidden).flatten(0, 1)
    assert torch.allclose(weighed["query", 0][1], (normed**2).mean(0), rtol=1e-4)
    squares = weighed["embedding", None][1]
    # a tied table is what logits are made with too
    assert torch.equal(squares, torch.ones(64)) != sizes.tied_embeddings


def test_losses_follow_errors_squared() -> None:
    """Half the step is off by half, squared a quarter."""
    errors = {"small": 4.0, "large": 1.0, "whole": 0.0}
    assert sensitivity.scaled({"small": 0.8}, errors) == {"small": 0.8, "large": 0.2, "whole": 0.0}
    # what was measured counts, and the rest follows the last of it
    found = sensitivity.scaled({"small": 0.8, "large": 0.1}, {**errors, "larger": 0.5})
    assert found == {"small": 0.8, "large": 0.1, "larger": 0.05, "whole": 0.0}
    assert sensitivity.scaled({"small": 0.8}, {"small": 0.0, "large": 0.0})["large"] == 0
    assert sensitivity.scaled({"small": -1e-9}, {"small": 4.0}) == {"small": 0.0}


def test_rows_are_the_beginnings_of_texts_that_lie_apart() -> None:
    texts = [[text * 10 + place for place in range(5)] for text in range(6)]
    assert sensitivity.spread(texts, 8, 4) == [[0, 1, 2, 3], [30, 31, 32, 33]]
    # of short ones as many as are needed
    assert sensitivity.spread([[1, 2], [3, 4], [5, 6]], 4, 4) == [[1, 2, 3, 4]]
    assert sensitivity.spread([[1, 2]], 256, 64) == [[1, 2]]
