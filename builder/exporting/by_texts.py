"""A checkpoint whose layers are rounded by texts, one after another, in GPTQ's format.

How a layer is rounded is a `Method`: each has a file beside this one, such as gptq.py, which is run as
`python -m builder.exporting.gptq REQUEST.json`. In memory are a layer in float32, the products of its inputs,
and what all texts are as they reach it; a GPU computes where there is one. Each layer reads what those before
it make rounded. Embedding and head stay as they are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder import complaint, files, source
from builder.calibration import texts
from builder.errors import ConversionError
from builder.exporting import graph_of_rounded
from builder.exporting.grid import Rounded
from builder.exporting.inputs import READERS, Layer, heard
from builder.exporting.layers import Layers
from builder.exporting.tensorrt_llm import Percents, say
from builder.ranks import convert, family, matrices
from builder.ranks.convert import Prepared, Ranks
from builder.ranks.division import Division
from builder.ranks.quantization import RECORD
from builder.weight_formats import gptq as form

REST = "model-rest.safetensors"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Made:
    """What became of a layer: its matrices by role, and whatever else had to change, of any float type."""

    matrices: Mapping[str, Rounded]
    changed: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A way to round a layer, in groups of so many inputs; `record` is what is kept of how it was done."""

    name: str
    rounded: Callable[[Layer, int], Made]
    record: Mapping[str, Any]


def write(
    method: Method,
    folder: Path,
    out: Path,
    group: int,
    data: texts.Data,
    longest: int,
    progress: Progress | None = None,
) -> None:
    """Write a folder as transformers and vLLM read it, with calibration.json.

    Args:
        method: how layers are rounded.
        folder: Hugging Face's, unquantised, with its tokenizer.
        out: an empty folder, or none yet.
        group: inputs that share a scale.
        data: the texts.
        longest: tokens of a text that are used.
        progress: hears of the layers done, of all.

    Raises:
        SourceError: a matrix with NaN in it, or that is constant; weights that are quantised already.
        ConversionError: a group that does not divide, inputs that are not finite or all alike, experts.
    """
    import transformers

    prepared = convert.prepare(folder, Ranks(Division(1), "fp32"))
    names = matrices_of(prepared)
    by_name = {one.info.name: one for one in prepared.sources}
    require_groups({name: by_name[name].info.shape[1] for name in names}, group)
    matrices.require_sound([by_name[name] for name in names])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    longest = min(longest, prepared.dimensions.context_length)
    sequences = texts.sequences(data, tokenizer, longest)
    if doubted := texts.doubt(data, sequences):
        say(f"warning: {doubted}")
    out.mkdir(parents=True, exist_ok=True)
    homes, done = _rounded_layers(method, prepared, sequences, group, out, progress)
    homes |= _rest(prepared, done, out)
    files.write_json(out / graph_of_rounded.INDEX, {"metadata": {}, "weight_map": homes})
    config = source.read_json(folder / "config.json")
    files.write_json(out / "config.json", {**config, "quantization_config": form.described(group)})
    files.write_json(out / RECORD, record(method, texts.described(data, sequences, longest), group))


def record(method: Method, data: Mapping[str, Any], group: int) -> dict[str, Any]:
    """Return what is kept of a calibration; `data` is what `texts.described` says."""
    return {"quant_algo": method.name, "group_size": group, **method.record, **data}


def matrices_of(prepared: Prepared) -> list[str]:
    """Return the names of the matrices that are rounded; raise ConversionError for a mixture of experts."""
    named = family.decoder(prepared.checkpoint.model_type).HUGGING_FACE
    if "gate" not in named:
        raise ConversionError(
            f"a {prepared.checkpoint.model_type} has experts, of which few tokens reach each",
            expected="a dense decoder: texts must reach every matrix",
            remedy="round without texts, by --quantize int4, or use --target tensorrtllm --quantize fp8",
        )
    roles = [role for readers in READERS for role in readers]
    layers = range(prepared.dimensions.layers)
    return [named[role].format(layer=layer) for layer in layers for role in roles]


def require_groups(widths: Mapping[str, int], group: int) -> None:
    """Raise ConversionError for a matrix whose inputs are no whole groups."""
    for name, width in widths.items():
        if width % group:
            raise ConversionError(
                f"{name} has {width} inputs, which are no whole groups of {group}",
                expected=f"a multiple of {group}",
                remedy="round by --quantize int4, whose groups have 32",
            )


def _rounded_layers(
    method: Method,
    prepared: Prepared,
    sequences: Sequence[Sequence[int]],
    group: int,
    out: Path,
    progress: Progress | None,
) -> tuple[dict[str, str], set[str]]:
    """Write a file for each layer; return which tensor lies in which, and which of the source are done."""
    import torch
    from safetensors.torch import save_file

    layers, homes, done = Layers(prepared), dict[str, str](), set[str]()
    with torch.no_grad():
        states = layers.embedded(sequences)
        for number in range(layers.count):
            model = layers.model(number)
            layer = heard(layers, model, states, *_named(prepared, number))
            made = method.rounded(layer, group)
            for role, value in made.changed.items():
                layer.replace(role, value)
            for role, one in made.matrices.items():
                layer.replace(role, one.weight())
            states = [layers.run(model, state) for state in states]
            held = _held(layer, made)
            file = f"model-layer-{number:03}.safetensors"
            save_file(held, out / file)
            homes |= dict.fromkeys(held, file)
            done |= {layer.names[role] for role in (*made.matrices, *made.changed)}
            if progress:
                progress(number + 1, layers.count)
    return homes, done


def _named(prepared: Prepared, layer: int) -> tuple[dict[str, str], dict[str, str]]:
    """Return the names of a layer's tensors by role, and what types they have."""
    types = {one.info.name: one.info.dtype for one in prepared.sources}
    named = family.decoder(prepared.checkpoint.model_type).HUGGING_FACE.items()
    every = {role: name.format(layer=layer) for role, name in named if "{layer}" in name}
    found = {role: name for role, name in every.items() if name in types}
    return found, {role: types[name] for role, name in found.items()}


def _held(layer: Layer, made: Made) -> dict[str, Any]:
    """Return the tensors of a layer's file: matrices packed, all else in the type that the source has it."""
    import torch

    found = dict[str, Any]()
    for role, one in made.matrices.items():
        found |= form.pack(layer.names[role].removesuffix("weight"), one.numbers.cpu(), one.scales.cpu())
    for role, value in made.changed.items():
        dtype = getattr(torch, matrices.TORCH[layer.types[role]])
        found[layer.names[role]] = value.to(dtype).cpu().contiguous()
    return found


def _rest(prepared: Prepared, done: set[str], out: Path) -> dict[str, str]:
    """Write what stays as it is, in the type it has; return which tensor lies in which file."""
    from safetensors.torch import save_file

    kept = [one for one in prepared.sources if one.info.name not in done]
    save_file({one.info.name: matrices.read(one, one.info.dtype) for one in kept}, out / REST)
    return {one.info.name: REST for one in kept}


def round_as(method: Method, asked: Mapping[str, Any], out: Path) -> None:
    """Write a checkpoint as a request asks: `source`, `group`, `calibration`, `samples` and `length`."""
    data = texts.read(Path(asked["calibration"]) if asked["calibration"] else texts.SHIPPED)
    data = texts.first(data, asked["samples"])
    longest = asked["length"] or texts.LONGEST
    write(method, Path(asked["source"]), out, asked["group"], data, longest, Percents(True))


def main(method: Method) -> None:
    """Read the file that the command line names: {source, out, command, ...}, the rest for `round_as`.

    `command`, where there is one, makes a graph of the rounded checkpoint.
    """
    with complaint.printed(again="build again"):
        asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        # the calibration's texts are read by its tokenizer
        checkpoint, out = source.open_checkpoint(asked["source"]), Path(asked["out"])
        if not asked["command"]:
            round_as(method, asked, out)
            return
        with files.scratch(out.parent / graph_of_rounded.ROUNDED) as room:
            round_as(method, asked, room)
            graph_of_rounded.build(checkpoint, room, asked["command"], out)
