"""Checkpoints as GGUF: read back by our own reader, and computed by llama.cpp."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_decoders

from builder import architecture
from builder.errors import ConversionError
from builder.gguf import materialise, mixes, writing
from builder.gguf.config import config
from builder.gguf.header import read_header

pytest.importorskip("gguf")
torch = pytest.importorskip("torch")

SIZES: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
MODELS = {
    "llama": {"model_type": "llama"},
    "llama, tied": {"model_type": "llama", "tie_word_embeddings": True},
    "llama, scaled": {"model_type": "llama", "rope_scaling": LLAMA3},
    "llama, linear": {"model_type": "llama", "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    "llama, biases": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3"},
    "mistral": {"model_type": "mistral", "sliding_window": None},
}
IDS = [int(one) for one in np.random.default_rng(1).integers(3, 500, 40)]


def silent(done: int, total: int) -> None:
    """Hear nothing of how far it is."""


def checkpoint(folder: Path, dtype: Any = torch.float32, **told: Any) -> Path:
    asked = tiny_decoders.config(**{**SIZES, **told})
    tensors = {
        name: (torch.from_numpy(values) / 8).to(dtype)
        for name, values in tiny_decoders.weights(asked).items()
    }
    return tiny_decoders.write(folder, asked, tensors)


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return checkpoint(tmp_path / "source", **request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_what_is_written_is_read_back(folder: Path, dtype: Any, tmp_path: Path) -> None:
    told = json.loads((folder / "config.json").read_text())
    source = checkpoint(tmp_path / "other", dtype, **{name: told[name] for name in told})
    writing.write(source, tmp_path / "model.gguf", silent)
    header = read_header(tmp_path / "model.gguf")
    found = config(header)
    family: Any = architecture.load(found["model_type"])
    sizes = family.dimensions(found)
    assert sizes == family.dimensions(told)
    from safetensors.torch import load_file

    written = load_file(source / "model.safetensors")
    moves = materialise.moves(header.tensors, family, sizes)
    assert {move.target for move in moves} == written.keys()
    for move in moves:
        back = np.concatenate(list(materialise.values(header, move))).reshape(move.shape)
        assert np.array_equal(back, written[move.target].float().numpy()), move.target


def test_llama_cpp_computes_what_transformers_does(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("cyllama")
    transformers = pytest.importorskip("transformers")
    from builder.proving import llamacpp

    (tmp_path / "artifact").mkdir()
    writing.write(folder, tmp_path / "artifact" / "model.gguf", silent)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        expected = model(torch.tensor([IDS])).logits[0, :-1].numpy()
    witness = llamacpp.load(tmp_path / "artifact", {"threads": 1, "cache_type": "f32"})
    assert np.allclose(witness.read(IDS), expected, atol=2e-3)
    assert np.allclose(witness.start(IDS[:-1], 1), expected[-1], atol=2e-3)


@pytest.mark.parametrize("mix", mixes.MIXES.values(), ids=mixes.MIXES)
@pytest.mark.parametrize("columns", [64, 256])
def test_types_are_those_that_llama_cpp_chooses(mix: mixes.Mix, columns: int, tmp_path: Path) -> None:
    pytest.importorskip("cyllama")
    from builder.exporting import llamacpp

    told = {"model_type": "llama", "num_hidden_layers": 9, "hidden_size": columns, "head_dim": columns // 4}
    source = checkpoint(tmp_path / "source", **told)
    (tmp_path / "out").mkdir()
    llamacpp.convert(source, tmp_path / "out", mix.file)
    assert [file.name for file in (tmp_path / "out").iterdir()] == [llamacpp.MODEL]
    header = read_header(tmp_path / "out" / llamacpp.MODEL)
    family: Any = architecture.load("llama")
    sizes = family.dimensions(json.loads((source / "config.json").read_text()))
    names = {(role, layer): name for role, layer, name in architecture.tensor_names(family.GGUF, sizes)}
    planned = {names[place]: kind for place, kind in mixes.types(mix, sizes).items()}
    assert {name: header.tensors[name].dtype for name in planned} == planned
    assert mixes.mixed_bytes(mix, sizes) == sum(one.nbytes for one in header.tensors.values())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "is scaled by 'dynamic'"),
        ({"rope_scaling": {**LLAMA3, "low_freq_factor": 2.0}}, "with 2.0, 4.0, 8192"),
        ({"model_type": "mistral", "sliding_window": 128}, "looks back 128 tokens of 256"),
        ({"model_type": "mixtral"}, "model_type is 'mixtral'"),
    ],
)
def test_what_llama_cpp_cannot_be_told_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "source", model_type="llama")
    told = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**told, **changes}))
    with pytest.raises(ConversionError, match=said) as refused:
        writing.write(source, tmp_path / "model.gguf", silent)
    assert "--target" in str(refused.value.remedy)
    assert not (tmp_path / "model.gguf").exists()


def test_a_window_as_long_as_the_context_is_none(tmp_path: Path) -> None:
    writing.require(tiny_decoders.config(**{**SIZES, "model_type": "mistral", "sliding_window": 256}))
