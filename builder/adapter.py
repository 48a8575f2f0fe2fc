"""Adapter: a LoRA that a request may name, in Hugging Face PEFT's folder: its facts, read from headers alone.

What PEFT writes (https://huggingface.co/docs/peft, LoraConfig) and vLLM 0.22 takes (lora/peft_helper.py), as
TensorRT-LLM does once it is converted: two matrices A [rank, in] and B [out, rank] for some of the linear
layers, added as (alpha / rank) B A.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from builder import architecture, files
from builder.architecture import Decoder, Dimensions
from builder.errors import SourceError, UsageError
from builder.safetensors_file import read_header
from builder.source import TensorInfo, read_json

FOLDER = "adapters"
"""Where they lie in the front's version folder, each under its name."""

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MOST_RANK = 512
"""The largest of vLLM's (vllm/config/lora.py, MaxLoRARanks)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<part>[AB])\.weight")
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "bias": (None, "none"),
    "use_dora": (None, False),
    "modules_to_save": (None, []),
    # vLLM scales every layer by the same alpha / rank
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "layer_replication": (None, []),
    # an activated LoRA changes only what follows these tokens
    "alora_invocation_tokens": (None, []),
}
"""Field of the config -> the values that ask for nothing beyond A and B.

`fan_in_fan_out` is none of them: A and B lie alike with it, and PEFT takes it for false, with a warning,
where layers are torch.nn.Linear (tuners/lora/layer.py, dispatch_default), as those of every model here are.
"""

_OF_ANOTHER_BASE = ("pissa", "olora", "corda")
"""Ways to begin a training (PEFT's LoraConfig, init_lora_weights) that take A and B out of the model's own
weights: what is saved belongs to what is left of them, unless it is converted, which makes the field true."""

_FLOATS = ("BF16", "F16", "F32", "F64")
_VIRTUAL = ("PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING", "CPT")
"""What adds tokens instead of changing layers (peft/utils/peft_types.py)."""

# what mends it, by what is wrong
_MERGE = "or merge it into the checkpoint (PEFT's `merge_and_unload`) and serve that"
_DAMAGED = "the file is damaged or was edited: copy the folder again as PEFT's `save_pretrained` wrote it"
_OTHER = "pass a LoRA that was trained on this very model"


@dataclass(frozen=True)
class Adapter:
    """One adapter by its name; `modules` are the linear layers it changes, as `q_proj`."""

    name: str
    rank: int
    modules: tuple[str, ...]
    folder: Path = field(compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return what a manifest says of it: nothing of this machine."""
        return {"name": self.name, "rank": self.rank, "modules": list(self.modules)}


def read(given: Sequence[str], model_type: str, dimensions: Dimensions) -> tuple[Adapter, ...]:
    """Return the adapters of `--lora NAME=FOLDER`, in the order of their names.

    Raises:
        UsageError: not of that form, a name twice, no folder.
        SourceError: no LoRA of PEFT, one that engines do not serve, or one of another model.
    """
    found: dict[str, Adapter] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not path or not _NAME.fullmatch(name):
            raise UsageError(f"--lora {text!r}", expected="NAME=FOLDER, such as support=./support-lora")
        if name in found:
            raise UsageError(f"--lora {name} is given twice", remedy="give each adapter a name of its own")
        found[name] = _read(name, Path(path), _shapes(model_type, dimensions))
    return tuple(found[name] for name in sorted(found))


def copy(adapter: Adapter, folder: Path) -> None:
    """Copy an adapter's files into a folder: no links, the next training writes over its own files."""
    for name in (CONFIG, WEIGHTS):
        shutil.copyfile(adapter.folder / name, folder / name)


def lay(
    adapters: Sequence[Adapter], home: Path, write: Callable[[Adapter, Path], None] = copy
) -> dict[str, str]:
    """Lay the adapters under a front's version folder; return name there -> SHA-256 of each file.

    `write` puts one into its folder, as the engine reads it.
    """
    digests: dict[str, str] = {}
    for adapter in adapters:
        folder = home / FOLDER / adapter.name
        folder.mkdir(parents=True)
        write(adapter, folder)
        digests |= {f"{FOLDER}/{adapter.name}/{name}": one for name, one in files.digests(folder).items()}
    return digests


def _shapes(model_type: str, dimensions: Dimensions) -> dict[str, tuple[int, int]]:
    """Return module -> (out, in) of every layer of the model, by Hugging Face's names."""
    named = cast(Decoder, architecture.load(model_type)).HUGGING_FACE
    changed = architecture.linear_layers(dimensions)
    return {
        name.removesuffix(".weight"): changed[role]
        for role, _, name in architecture.tensor_names(named, dimensions)
        if role in changed
    }


def _read(name: str, folder: Path, shapes: Mapping[str, tuple[int, int]]) -> Adapter:
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise UsageError(
                f"--lora {name}: {folder} holds no {file}",
                expected=f"a folder as PEFT's save_pretrained writes it: {CONFIG} and {WEIGHTS}",
            )
    rank = _rank(folder / CONFIG)
    tensors = read_header(folder / WEIGHTS).tensors
    modules = sorted({module for module, _ in _parts(folder / WEIGHTS, tensors, shapes, rank)})
    if not modules:
        raise _unserved(folder / WEIGHTS, "it holds no tensors", "matrices lora_A and lora_B", _DAMAGED)
    for module in modules:
        for part in "AB":
            if f"base_model.model.{module}.lora_{part}.weight" not in tensors:
                lost = f"{module} has no lora_{part}"
                raise _unserved(folder / WEIGHTS, lost, "both lora_A and lora_B", _DAMAGED)
    return Adapter(name, rank, tuple(sorted({module.rpartition(".")[2] for module in modules})), folder)


def _require_plain(path: Path, config: Mapping[str, Any]) -> None:
    """Raise SourceError where it asks for more than that A and B are added to the model as it is."""
    if config.get("peft_type") != "LORA":
        raise _unserved(path, f"peft_type is {config.get('peft_type')!r}", "LORA", _instead(config))
    for key, plain in _PLAIN.items():
        if config.get(key) not in plain:
            remedy = f"train it without {key}, {_MERGE}"
            raise _unserved(path, f"{key} is {config[key]!r}", "an adapter without it", remedy)
    begun = config.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower().startswith(_OF_ANOTHER_BASE):
        found = f"init_lora_weights is {begun!r}: A and B belong to a model without what they began with"
        remedy = f"save it with path_initial_model_for_weight_conversion, which converts it, {_MERGE}"
        raise _unserved(path, found, "A and B that are added to the model as it is", remedy)


def _rank(path: Path) -> int:
    config = read_json(path)
    _require_plain(path, config)
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or not 1 <= rank <= MOST_RANK:
        remedy = f"train it with a lower rank, {_MERGE}" if type(rank) is int and rank > 1 else _DAMAGED
        raise _unserved(path, f"r is {rank!r}", f"a rank of 1 to {MOST_RANK}", remedy)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise _unserved(path, f"lora_alpha is {alpha!r}", "a finite number", _DAMAGED)
    if alpha == 0:
        found = f"lora_alpha is {alpha!r}: it is scaled by 0, and changes nothing"
        remedy = "write the lora_alpha there that it was trained with, or train it again with another"
        raise _unserved(path, found, "a number other than 0", remedy)
    if not isinstance(config.get("target_modules"), list | str):
        found = f"target_modules is {config.get('target_modules')!r}"
        raise _unserved(path, found, "names of layers", _DAMAGED)
    return rank


def _instead(config: Mapping[str, Any]) -> str:
    kind = config.get("peft_type")
    if not isinstance(kind, str):
        return _DAMAGED
    return "train a LoRA" if kind in _VIRTUAL else f"train a LoRA, {_MERGE}"


def _parts(
    path: Path, tensors: Mapping[str, TensorInfo], shapes: Mapping[str, tuple[int, int]], rank: int
) -> Iterator[tuple[str, str]]:
    """Yield (module, A or B) of every tensor; raise SourceError for one that does not fit the model."""
    for name, tensor in tensors.items():
        read = _TENSOR.fullmatch(name)
        if read is None:
            remedy = f"train it on linear layers alone, {_MERGE}"
            raise _unserved(path, f"it holds {name}", "lora_A and lora_B of linear layers alone", remedy)
        module, part = read["module"], read["part"]
        if module not in shapes:
            near = sorted({known.rpartition(".")[2] for known in shapes})
            known = module.rpartition(".")[2] in near
            remedy = _OTHER if known else f"{_OTHER}, on such layers alone, {_MERGE}"
            raise _unserved(path, f"it changes {module}", f"a layer of this model: {', '.join(near)}", remedy)
        if tensor.dtype not in _FLOATS:
            remedy = f"{_DAMAGED}; where its numbers were rounded, save it in bfloat16"
            raise _unserved(path, f"{name} is {tensor.dtype}", f"one of {', '.join(_FLOATS)}", remedy)
        out, into = shapes[module]
        wanted = (rank, into) if part == "A" else (out, rank)
        if tensor.shape != wanted:
            found = f"{name} is {list(tensor.shape)}"
            ours = tensor.shape[1:] == (into,) if part == "A" else tensor.shape[:-1] == (out,)
            remedy = f"take {CONFIG} and {WEIGHTS} of one training" if ours else _OTHER
            raise _unserved(path, found, f"{list(wanted)}, by rank {rank} and this model", remedy)
        yield module, part


def _unserved(path: Path, found: str, expected: str, remedy: str) -> SourceError:
    return SourceError(f"{path}: {found}", expected=expected, remedy=remedy)
