"""Stored: what a checkpoint says of weights that are quantised already; a file of `weight_formats/` reads it.

The file is named by the `quant_method` of config.json's `quantization_config`, with _ for -. ModelOpt's older
checkpoints say the same in hf_quant_config.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

from builder import house
from builder.errors import SourceError
from builder.weights import Shape

SEPARATE = "hf_quant_config.json"
KEYS = ("quantization_config", "compression_config")
PLACE = f"config.json: {KEYS[0]}"
"""Where errors see a description; `of_folder` says it of SEPARATE."""


@dataclass(frozen=True)
class Kernel:
    """How a target runs the weights: its own name of the method, the least compute capability of a GPU.

    `below` is the first capability that it is no longer for, "" where there is none.
    """

    method: str
    compute: str
    below: str = ""


@dataclass(frozen=True)
class Stored:
    """Weights as they lie in a checkpoint.

    `name` is the file of `weight_formats/`, `scheme` the same for people; `bits` counts a weight of a matrix
    with its share of scales. `cache` is the data type of KV cache that it was calibrated for, "" for none.
    `group` is how many weights of a row share a scale and so stay on one GPU, 0 where any number may;
    `splits` says whether several GPUs may share a layer at all. `kernels` are the targets that run it,
    `refused` why others of them do not. `weight_bytes` are those of all tensors, by their headers; None while
    no header was read.
    """

    name: str
    scheme: str
    bits: float
    kernels: Mapping[str, Kernel]
    rounds_activations: bool = False
    cache: str = ""
    group: int = 0
    splits: bool = True
    refused: Mapping[str, str] = field(default_factory=dict)
    weight_bytes: int | None = None


class WeightFormat(Protocol):
    """What each file in `weight_formats/` offers."""

    MARKS: tuple[str, ...]
    """What only a quantised module's tensors are called after the module's name, such as `qweight`."""

    def read(self, told: Mapping[str, Any]) -> Stored:
        """Return what the description says; raise SourceError for what is no such description."""
        ...

    def packed(self, told: Mapping[str, Any], outputs: int, inputs: int) -> Mapping[str, Shape]:
        """Return the shapes that a quantised matrix [outputs, inputs] is stored in.

        By what follows the module's name, of those that follow from the sizes of the matrix alone.
        """
        ...

    # one whose kernels no engine brings has also REQUIREMENTS, as a target

    def weight(self, told: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
        """Return the matrix of a module [outputs, inputs] in float32, as the stored numbers stand for it.

        `parts` are the module's tensors of torch by what follows its name.
        """
        ...


def taken(**found: Kernel | str) -> dict[str, Any]:
    """Return `kernels` and `refused` of Stored, by what each target has: a kernel, or why it has none."""
    return {
        "kernels": {name: one for name, one in found.items() if isinstance(one, Kernel)},
        "refused": {name: one for name, one in found.items() if isinstance(one, str)},
    }


def read(config: Mapping[str, Any], sizes: Iterable[int] = ()) -> Stored | None:
    """Return what the config says of quantised weights, None for plain ones.

    Args:
        config: Hugging Face's.
        sizes: bytes of every tensor, none while no header was read.

    Raises:
        SourceError: a way of quantising that has no file, or one that lacks what it must say.
    """
    told = description(config)
    if told is None:
        return None
    return replace(load(told).read(told), weight_bytes=sum(sizes) or None)


def description(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the part of a config that is about quantised weights, None where there is none."""
    told = next((config[key] for key in KEYS if config.get(key) is not None), None)
    if told is not None and not isinstance(told, Mapping):
        raise SourceError(f"{PLACE} is {told!r}", expected="an object")
    return told


def load(told: Mapping[str, Any]) -> WeightFormat:
    """Return the file that reads a description; raise SourceError listing those that exist."""
    producer = field_of(told, "producer", kind=dict, default={})
    method = str(told.get("quant_method") or producer.get("name") or "")
    name = "modelopt" if method.startswith("modelopt") else method.lower().replace("-", "_")
    known = house.plugin_names("weight_formats")
    if name not in known:
        raise SourceError(
            f"{PLACE} says quant_method {method!r}",
            expected=f"one of {', '.join(known)}",
            remedy="use a checkpoint that is quantised so, or one with plain float weights",
        )
    return cast(WeightFormat, house.plugin("weight_formats", name, option="quant_method"))


def holds(name: str, held: Iterable[str], marks: Iterable[str]) -> bool:
    """Say whether `held` has a weight, as it is or quantised."""
    module = name.removesuffix("weight")
    return name in held or any(module + mark in held for mark in marks)


def shapes(
    told: Mapping[str, Any] | None, expected: Mapping[str, Shape | None], held: Iterable[str]
) -> Iterator[tuple[str, Shape]]:
    """Yield the name and the shape of every tensor whose shape a config decides.

    Args:
        told: the description of quantised weights, None where all are plain.
        expected: name -> shape of the weights as if all were plain, None where it is not known.
        held: the names that the checkpoint has, which tell plain weights from quantised ones.
    """
    plain = {name: shape for name, shape in expected.items() if shape is not None}
    if told is None:
        yield from plain.items()
        return
    held, way = frozenset(held), load(told)
    is_read = bool(way.read(told).kernels)
    for name, shape in plain.items():
        module = name.removesuffix("weight")
        if not any(module + mark in held for mark in way.MARKS):
            yield name, shape
        elif is_read and len(shape) == 2:
            for part, packed in way.packed(told, *shape).items():
                yield module + part, packed


def of_folder(config: dict[str, Any], separate: Path, read_json: Any) -> dict[str, Any]:
    """Return the config with the description of a file of its own, where only that has one.

    Raises SourceError that names that file, where it cannot be read.
    """
    if description(config) is not None or not separate.is_file():
        return config
    told = read_json(separate)
    if _says_of_none(told):
        return config
    try:
        load(told).read(told)
    except SourceError as error:
        raise SourceError(
            error.found.replace(PLACE, separate.name),
            expected=error.expected,
            remedy=error.remedy.replace("config.json", separate.name),
        ) from error
    return {**config, KEYS[0]: told}


def _says_of_none(told: Mapping[str, Any]) -> bool:
    """Say whether ModelOpt wrote that it left all weights as they were."""
    inner = told.get("quantization", told)
    return isinstance(inner, Mapping) and inner.get("quant_algo", "") is None


def choice_of(told: Mapping[str, Any], name: str, known: Iterable[str], default: str) -> str:
    """Return a word of the description; raise SourceError where it is none of those that are known."""
    value: str = field_of(told, name, kind=str, default=default)
    if value not in known:
        raise SourceError(
            f"{PLACE} says {name} {value!r}",
            expected=f"one of {', '.join(known)}",
            remedy="take config.json from the model's own repository again",
        )
    return value


def field_of(told: Mapping[str, Any], *names: str, kind: type, default: Any = None) -> Any:
    """Return the first of these fields; raise SourceError where none is there, or is of another kind."""
    value = next((told[name] for name in names if told.get(name) is not None), default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise SourceError(
            f"{PLACE} says {names[0]} {value!r}",
            expected=f"a value of type {kind.__name__}",
            remedy="take config.json from the model's own repository again",
        )
    return value
