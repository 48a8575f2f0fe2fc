"""The source as transformers runs it in float32; of quantised weights the numbers that they stand for.

No kernel of the quantisation is needed: each file of `weight_formats/` says what its packed numbers mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from builder import source, weight_format
from builder.weight_format import WeightFormat

ENGINE_ROOM = 12 << 30
"""Bytes of a GPU that an engine takes beside its weights while golden prompts and short texts are read."""

CACHE_SCALES = ("_scale", "_zero_point", "inv_freq")
"""How names end of what scales a KV cache or is computed anyway: nothing that float32 needs."""


def load(folder: Path) -> Any:
    """Return the model of transformers, ready to be asked.

    Raises ValueError where the folder's tensors are not those of the model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = weight_format.of_folder(
        source.read_json(folder / "config.json"), folder / weight_format.SEPARATE, source.read_json
    )
    told = weight_format.description(config)
    if told is None:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    else:
        model = _filled(folder, tensors(folder, weight_format.load(told), told))
    return model.eval()


def beside(artifact: Path, folder: Path) -> Any:
    """Load as `load`, onto the GPU where there is one with room for the artifact's engine too.

    Args:
        artifact: the folder that an engine will load beside it.
        folder: of the source.
    """
    import torch

    model = load(folder)
    if not torch.cuda.is_available():
        return model
    needed = sum(weight.nbytes for weight in model.parameters())
    needed += ENGINE_ROOM + sum(file.stat().st_size for file in artifact.rglob("*") if file.is_file())
    free, _ = torch.cuda.mem_get_info()
    return model.cuda() if needed <= free else model


def tensors(folder: Path, form: WeightFormat, told: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and float32 tensor of every weight; packed ones under the name of the plain one."""
    from safetensors import safe_open

    with ExitStack() as stack:
        homes: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            file = stack.enter_context(safe_open(path, framework="pt"))
            homes |= dict.fromkeys(file.keys(), file)
        modules = {
            name.removesuffix(mark) for name in homes for mark in form.MARKS if name.endswith(f".{mark}")
        }
        for module in sorted(modules):
            parts = {
                name.removeprefix(module): homes[name].get_tensor(name)
                for name in homes
                if name.startswith(module)
            }
            yield f"{module}weight", form.weight(told, parts)
            if "bias" in parts:
                yield f"{module}bias", parts["bias"].float()
        for name, file in homes.items():
            if not any(name.startswith(module) for module in modules):
                yield name, file.get_tensor(name).float()


def _filled(folder: Path, weights: Iterator[tuple[str, Any]]) -> Any:
    """Return the model with these weights, taken one by one: a second copy of them all might not fit."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    for key in weight_format.KEYS:
        if hasattr(config, key):
            delattr(config, key)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    places, found = model.state_dict(), set()
    for name, tensor in weights:
        found.add(name)
        if name in places:
            places[name].copy_(tensor)
    unknown = sorted(name for name in found - places.keys() if not name.endswith(CACHE_SCALES))
    absent = [name for name, _ in model.named_parameters() if name not in found]
    if unknown or absent:
        raise ValueError(
            f"{folder}: the model has no tensor {', '.join(unknown[:3]) or '-'} and misses "
            f"{', '.join(absent[:3]) or '-'}"
        )
    return model
