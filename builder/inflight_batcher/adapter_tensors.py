"""A LoRA adapter of PEFT as the two tensors that a request hands TensorRT-LLM, in the files of its own tool.

docs/source/advanced/lora.md of TensorRT-LLM, "LoRA tensor format details": a row for each module of each
layer, A [rank, in] and B [out, rank] one after the other, filled up by zeros. The runtime multiplies by
nothing, so alpha / rank is in B. All GPUs get the whole: each cuts its part out
(cpp/tensorrt_llm/runtime/loraCache.cpp, copyToPages).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builder.adapter import CONFIG, WEIGHTS, Adapter
from builder.architecture import Dimensions
from builder.errors import SourceError
from builder.inflight_batcher.adapters import MODULES, Module, runtime_shape
from builder.ranks import numbers
from builder.safetensors_file import read_header
from builder.source import read_json

FILES = {"lora_weights": "model.lora_weights.npy", "lora_config": "model.lora_config.npy"}
"""Tensor -> its file, as hf_lora_convert.py names them."""

KINDS = {"FP16": ("F16", "<f2"), "BF16": ("BF16", "V2")}
"""Triton's type -> safetensors' and numpy's, which has no bfloat16: two bytes of no kind, as NVIDIA's tool
saves them."""

_A = re.compile(r".*\.layers\.(?P<layer>\d+)\..*\.(?P<module>\w+)\.lora_A\.weight")

Floats = npt.NDArray[Any]


@dataclass(frozen=True)
class _Row:
    """One module of one layer: A float32 [rank, in], B float32 [out, rank]."""

    module: Module
    layer: int
    into: Floats
    out: Floats


def write(adapter: Adapter, dimensions: Dimensions, tensor: int, kind: str, folder: Path) -> None:
    """Write an adapter's two files.

    Args:
        adapter: one that fits the model.
        dimensions: the model's.
        tensor: over how many GPUs each matrix is divided.
        kind: of the engine's numbers, FP16 or BF16: the runtime takes no other.
        folder: where to.

    Raises:
        SourceError: it holds no numbers, or such as `kind` does not reach.
    """
    rows = sorted(_rows(adapter, dimensions, tensor), key=lambda row: (row.layer, row.module.number))
    config = np.array([[(row.module.number, row.layer, adapter.rank) for row in rows]], dtype=np.int32)
    width = max(row.into.size + row.out.size for row in rows)
    stored, saved = KINDS[kind]
    weights = np.zeros((1, len(rows), width), dtype=numbers.UNSIGNED[stored])
    for place, row in zip(weights[0], rows, strict=True):
        flat = np.concatenate([row.into.reshape(-1), row.out.reshape(-1)])
        place[: flat.size] = numbers.converted(flat.view("<u4"), "F32", stored)
        _require_finite(adapter, row, place, stored)
    np.save(folder / FILES["lora_weights"], weights.view(saved))
    np.save(folder / FILES["lora_config"], config)


def require_kind(ranks: Mapping[str, Any], kind: str) -> None:
    """Raise SourceError where the engine of these ranks computes in other 16 bits than adapters are sent in.

    `ranks` is the config.json beside them.
    """
    names = {"bfloat16": "BF16", "float16": "FP16"}
    if names.get(ranks["dtype"]) != kind:
        raise SourceError(
            f"the ranks are of {ranks['dtype']}, and adapters are planned as {kind}, by config.json",
            expected="a checkpoint whose config.json names the type of its tensors",
            remedy="set torch_dtype in config.json to what the tensors are, or leave --lora out",
        )


def _rows(adapter: Adapter, dimensions: Dimensions, tensor: int) -> Iterator[_Row]:
    path = adapter.folder / WEIGHTS
    header, scale = read_header(path), _scale(adapter.folder / CONFIG)
    raw = np.memmap(path, dtype=np.uint8, mode="r")

    def read(name: str) -> Floats:
        info, place = header.tensors[name], header.places[name]
        if info.dtype not in numbers.UNSIGNED:
            raise SourceError(f"{path}: {name} is {info.dtype}", expected="floats of 16, 32 or 64 bits")
        values = raw[place : place + info.nbytes].view(numbers.UNSIGNED[info.dtype])
        return numbers.converted(values, info.dtype, "F32").view("<f4").reshape(info.shape)

    for name in header.tensors:
        found = _A.fullmatch(name)
        if found is None:
            continue
        module = MODULES[found["module"]]
        out = read(name.replace(".lora_A.", ".lora_B.")) * np.float32(scale)
        yield _Row(module, int(found["layer"]), read(name), _copied(out, module, dimensions, tensor))


def _scale(path: Path) -> float:
    config = read_json(path)
    rank = config["r"]
    # rank-stabilised LoRA (arXiv:2312.03732) divides by its root
    return float(config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _copied(out: Floats, module: Module, dimensions: Dimensions, tensor: int) -> Floats:
    """Return B with each KV head as often as GPUs have it, in a row, as the engine's own weights are."""
    times = runtime_shape(module, dimensions, tensor)[0] // len(out)
    if times == 1:
        return out
    heads = out.reshape(dimensions.key_value_heads, dimensions.head_size, -1)
    return np.repeat(heads, times, axis=0).reshape(times * len(out), -1)


def _require_finite(adapter: Adapter, row: _Row, written: Floats, kind: str) -> None:
    if numbers.is_finite(written, kind):
        return
    whole = np.isfinite(row.into).all() and np.isfinite(row.out).all()
    raise SourceError(
        f"--lora {adapter.name}: {row.module.name} of layer {row.layer} holds "
        + (f"numbers beyond {np.finfo(np.float16).max:.0f}" if whole else "numbers that are none"),
        expected="numbers that the engine's 16 bits hold",
        remedy="build the engine with --quantize bf16" if whole else "train the adapter again",
    )
