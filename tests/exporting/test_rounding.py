"""Each matrix of a GGUF in the type that was chosen for it, by llama.cpp, byte for byte as planned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_decoders

from builder import architecture
from builder.architecture import Dimensions
from builder.errors import ConversionError
from builder.gguf import materialise, mixes, parts, rounding, writing
from builder.gguf.header import Header, read_header

pytest.importorskip("gguf")
pytest.importorskip("cyllama")
torch = pytest.importorskip("torch")

# rows of 64 are no whole blocks of 256, those of 256 are
SIZES = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "head_dim": 16,
}


def silent(done: int, total: int) -> None:
    """Hear nothing of how far it is."""


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    asked = tiny_decoders.config("llama", **SIZES, rms_norm_eps=1e-5)
    made = tiny_decoders.weights(asked)
    tensors = {name: (torch.from_numpy(one) / 8).to(request.param) for name, one in made.items()}
    return tiny_decoders.write(tmp_path / "source", asked, tensors)


def sizes_of(source: Path) -> tuple[Any, Dimensions]:
    family: Any = architecture.load("llama")
    return family, family.dimensions(json.loads((source / "config.json").read_text()))


def rounded(source: Path, kind: str, out: Path) -> tuple[dict[str, str], Header]:
    """Round all parts to a type, the embedding to Q8_0; return what was asked for, and what is there."""
    family, sizes = sizes_of(source)
    names = {(role, layer): name for role, layer, name in architecture.tensor_names(family.GGUF, sizes)}
    chosen = {**dict.fromkeys(parts.parts_of(sizes), kind), "embedding": "Q8_0"}
    types = {names[place]: one for place, one in parts.types(chosen, sizes).items()}
    plain = out.with_name("plain.gguf")
    writing.write(source, plain, silent)
    rounding.round_each(plain, types, out, silent)
    return types, read_header(out)


@pytest.mark.parametrize("kind", parts.kinds("fp32"))
def test_types_and_bytes_are_those_that_were_chosen(source: Path, kind: str, tmp_path: Path) -> None:
    types, header = rounded(source, kind, tmp_path / "model.gguf")
    _, sizes = sizes_of(source)
    assert {name: header.tensors[name].dtype for name in types} == types
    chosen = {**dict.fromkeys(parts.parts_of(sizes), kind), "embedding": "Q8_0"}
    planned = mixes.total(parts.types(chosen, sizes), sizes)
    assert planned == sum(one.nbytes for one in header.tensors.values())
    assert sorted(one.name for one in tmp_path.iterdir()) == ["model.gguf", "plain.gguf", "source"]


@pytest.mark.parametrize(("kind", "most"), [("Q8_0", 0.01), ("Q4_1", 0.1), ("IQ4_NL", 0.12), ("F16", 1e-3)])
def test_what_is_rounded_is_near_what_it_was(source: Path, kind: str, most: float, tmp_path: Path) -> None:
    """A step of q bits is a fifteenth or a 255th of the range; normal numbers have a range of about 5."""
    nominal = "Q2_K" if kind == "IQ4_NL" else kind
    _, header = rounded(source, nominal, tmp_path / "model.gguf")
    family, sizes = sizes_of(source)
    plain = read_header(tmp_path / "plain.gguf")
    for move in materialise.moves(header.tensors, family, sizes):
        if header.tensors[move.source].dtype != kind:
            continue
        found, was = (np.concatenate(list(materialise.values(one, move))).ravel() for one in (header, plain))
        assert np.sqrt(np.mean((found - was) ** 2)) < most * np.sqrt(np.mean(was**2)), move.source


def test_a_type_that_rows_do_not_divide_into_is_refused_before_the_process_ends(
    source: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.gguf"
    writing.write(source, plain, silent)
    with pytest.raises(ConversionError, match=r"(?s)attn_q.* 64 .*Q4_K a multiple of 256"):
        rounding.round_each(plain, {"blk.0.attn_q.weight": "Q4_K"}, tmp_path / "model.gguf", silent)
    assert not (tmp_path / "model.gguf").exists()


def test_the_exporter_writes_the_mixture_alone(source: Path, tmp_path: Path) -> None:
    from builder.exporting import llamacpp

    (tmp_path / "out").mkdir()
    types = {"token_embd.weight": "Q8_0", "blk.1.ffn_down.weight": "Q3_K"}
    llamacpp.convert(source, tmp_path / "out", "", types)
    assert [file.name for file in (tmp_path / "out").iterdir()] == [llamacpp.MODEL]
    header = read_header(tmp_path / "out" / llamacpp.MODEL)
    assert {name: header.tensors[name].dtype for name in types} == types
