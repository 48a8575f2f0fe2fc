"""What headers tell of a checkpoint: the tensors that are converted, or why it cannot be; nothing is read.

The plan asks here, and so does the converter: what the one takes the other takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from builder import architecture, house, safetensors_file, weight_format
from builder.architecture import Dimensions
from builder.errors import SourceError
from builder.ranks import family, packed, reading
from builder.ranks.division import Division
from builder.ranks.layout import Layout
from builder.source import Checkpoint, TensorInfo


@dataclass(frozen=True)
class Tensors:
    """The tensors of a checkpoint that is quantised already.

    `as_plain` has every weight as if none were quantised, `parts` of those that are name -> what follows the
    module's name -> the tensor. `dtype` is safetensors' name of the type of all others.
    """

    checkpoint: Checkpoint
    as_plain: Mapping[str, TensorInfo]
    parts: Mapping[str, Mapping[str, str]]
    dtype: str


def require(checkpoint: Checkpoint) -> None:
    """Raise SourceError for tensors that the converter refuses, as `plain` and `stored` do.

    A checkpoint of another format than safetensors is written out as such before, in one type.
    """
    if checkpoint.format != "safetensors":
        return
    if weight_format.description(checkpoint.config) is None:
        plain(checkpoint)
    else:
        stored(checkpoint)


def plain(checkpoint: Checkpoint) -> tuple[dict[str, TensorInfo], str]:
    """Return the tensors of an unquantised checkpoint, and safetensors' name of their one type.

    Raises:
        SourceError: tensors that the config says nothing of, several types, or weights that are quantised.
    """
    held = reading.tensors(checkpoint, family.decoder(checkpoint.model_type).HUGGING_FACE["head"])
    return held, reading.dtype(checkpoint.origin, held)


def stored(checkpoint: Checkpoint) -> Tensors:
    """Return the tensors of a checkpoint that is quantised already, which make up a matrix and which it is.

    Raises:
        SourceError: tensors that the config says nothing of, several types of those that are plain, layers
            of which only some matrices are quantised, or scales that TensorRT-LLM has no layout for.
    """
    told = weight_format.description(checkpoint.config) or {}
    way = weight_format.load(told)
    names = family.decoder(checkpoint.model_type).HUGGING_FACE
    kind = architecture.load(checkpoint.model_type)
    known = architecture.expected_tensors(kind, checkpoint.config, "safetensors", checkpoint.tensors)
    form = house.plugin("ranks.stored_formats", way.read(told).name, option="quant_method")
    owners = {
        name.removesuffix("weight"): name
        for name in known
        if any(name.removesuffix("weight") + mark in checkpoint.tensors for mark in way.MARKS)
    }
    parts: dict[str, dict[str, str]] = {name: {} for name in owners.values()}
    held: dict[str, TensorInfo] = {}
    for name, info in checkpoint.tensors.items():
        module, _, part = name.rpartition(".")
        owner = owners.get(f"{module}.")
        if owner and (name == owner or name not in known):
            parts[owner][part] = name
        elif name in known or name == names["head"]:
            held[name] = info
        elif not name.endswith((*form.CACHE, reading.IGNORED)):
            raise SourceError(
                f"{checkpoint.origin} holds {name}, of which its config says nothing",
                expected=f"the tensors of a quantised {checkpoint.model_type} of its config",
                remedy="take config.json from the model's own repository again",
            )
    dtype = reading.dtype(checkpoint.origin, held)
    for name, own in parts.items():
        form.require(told, {part: checkpoint.tensors[one] for part, one in own.items()})
        shape = known[name]
        if shape is None:
            raise TypeError(f"Bug: the shape of {name} is not known")
        held[name] = TensorInfo(name, shape, dtype, safetensors_file.nbytes(shape, dtype))
    found = Tensors(checkpoint, held, parts, dtype)
    _require_all(found, names, family.decoder(checkpoint.model_type).dimensions(checkpoint.config))
    return found


def _require_all(tensors: Tensors, names: Mapping[str, str], sizes: Dimensions) -> None:
    """Raise SourceError where some matrices of layers are plain, or any other is not."""
    checkpoint = tensors.checkpoint
    rules = family.load(checkpoint.model_type).RULES
    whole = Layout(rules, names, tensors.as_plain, sizes, Division(), tensors.dtype)
    wanted = set(packed.quantised_sources(whole.files()))
    odd = sorted(wanted - tensors.parts.keys()) or sorted(tensors.parts.keys() - wanted)
    if odd:
        state = "is not" if odd[0] in wanted else "is"
        raise SourceError(
            f"{checkpoint.origin}: of the quantised model {odd[0]} {state} quantised",
            expected="all matrices of its layers, and no other",
            remedy="pass the checkpoint that it was made of, or serve this one with --target vllm or llmapi",
        )


def refusal(reason: str) -> SourceError:
    """Return the error for weights that TensorRT-LLM has no layout for."""
    return SourceError(
        f"the weights are quantised already, as {reason}",
        expected="float8 with a scale for each matrix and its inputs, or symmetric 4 bits in groups of 128",
        remedy="pass the checkpoint that it was made of, or serve this one with --target vllm or llmapi",
    )
