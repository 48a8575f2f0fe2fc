"""A checkpoint rounded by GPTQ, in GPTQ's own format: `python -m builder.exporting.gptq REQUEST.json`.

It needs torch, transformers and nvidia-modelopt (the extra `tensorrtllm`), and memory for one layer in
float32, the products of its inputs, and what all texts are as they reach it. Each layer reads what those
before it make rounded: what they lost is made up for as well. Embedding, norms, biases and head stay as they
are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder import complaint, files, source
from builder.calibration import texts
from builder.errors import ConversionError
from builder.exporting import compensating
from builder.exporting.compensating import Inputs, Rounded
from builder.exporting.layers import Layers, place
from builder.exporting.tensorrt_llm import Percents, say
from builder.ranks import convert, family, matrices
from builder.ranks.convert import Prepared, Ranks
from builder.ranks.division import Division
from builder.ranks.quantization import RECORD
from builder.weight_formats import gptq as form

METHOD = "gptq"
READERS = (("query", "key", "value"), ("attention_output",), ("gate", "up"), ("down",))
"""Matrices of a layer, those together that read the same."""
INDEX = "model.safetensors.index.json"
REST = "model-rest.safetensors"

Progress = Callable[[int, int], None]


def write(
    folder: Path, out: Path, group: int, data: texts.Data, longest: int, progress: Progress | None = None
) -> None:
    """Write a folder as transformers and vLLM read it, with calibration.json.

    Args:
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
    homes = _rounded_layers(prepared, sequences, group, out, progress)
    homes |= _rest(prepared, set(names), out)
    files.write_json(out / INDEX, {"metadata": {}, "weight_map": homes})
    config = source.read_json(folder / "config.json")
    files.write_json(out / "config.json", {**config, "quantization_config": form.described(group)})
    files.write_json(out / RECORD, record(texts.described(data, sequences, longest), group))


def record(data: Mapping[str, Any], group: int) -> dict[str, Any]:
    """Return what is kept of a calibration; `data` is what `texts.described` says."""
    return {
        "quant_algo": METHOD,
        "group_size": group,
        "modelopt": compensating.VERSION,
        "damping": compensating.DAMPING,
        **data,
    }


def matrices_of(prepared: Prepared) -> list[str]:
    """Return the names of the matrices that are rounded; raise ConversionError for a mixture of experts."""
    named = family.decoder(prepared.checkpoint.model_type).HUGGING_FACE
    if "gate" not in named:
        raise ConversionError(
            f"a {prepared.checkpoint.model_type} has experts, of which few tokens reach each",
            expected="a dense decoder: GPTQ needs inputs of every matrix",
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
    prepared: Prepared,
    sequences: Sequence[Sequence[int]],
    group: int,
    out: Path,
    progress: Progress | None,
) -> dict[str, str]:
    """Write a file for each layer's matrices; return which tensor lies in which."""
    import torch
    from safetensors.torch import save_file

    layers, homes = Layers(prepared), dict[str, str]()
    with torch.no_grad():
        states = layers.embedded(sequences)
        for layer in range(layers.count):
            model, packed = layers.model(layer), dict[str, Any]()
            for name, made in _rounded(layers, model, states, _named(prepared, layer), group):
                linear = model.get_submodule(place(name)[1].removesuffix(".weight"))
                linear.weight.data = made.weight().to(linear.weight)
                packed |= form.pack(name.removesuffix("weight"), made.numbers, made.scales)
            states = [layers.run(model, state) for state in states]
            file = f"model-layer-{layer:03}.safetensors"
            save_file(packed, out / file)
            homes |= dict.fromkeys(packed, file)
            if progress:
                progress(layer + 1, layers.count)
    return homes


def _named(prepared: Prepared, layer: int) -> list[list[str]]:
    named = family.decoder(prepared.checkpoint.model_type).HUGGING_FACE
    return [[named[role].format(layer=layer) for role in readers] for readers in READERS]


def _rounded(
    layers: Layers, model: Any, states: Sequence[Any], named: Sequence[Sequence[str]], group: int
) -> Iterator[tuple[str, Rounded]]:
    """Give each matrix of a layer rounded, by what the layer's matrices read before any of them was."""
    heard = _heard(layers, model, states, [readers[0] for readers in named])
    for readers in named:
        for name in readers:
            linear = model.get_submodule(place(name)[1].removesuffix(".weight"))
            products = heard[readers[0]].of(name)
            yield name, compensating.rounded(linear.weight.data.cpu(), products, group)


def _heard(layers: Layers, model: Any, states: Sequence[Any], names: Sequence[str]) -> dict[str, Inputs]:
    """Return what matrices read while a layer runs."""
    found, hooks = {}, []
    for name in names:
        linear = model.get_submodule(place(name)[1].removesuffix(".weight"))
        found[name] = inputs = Inputs(linear.in_features)
        hooks.append(linear.register_forward_pre_hook(lambda module, read, to=inputs: to.add(read[0])))
    try:
        for state in states:
            layers.run(model, state)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _rest(prepared: Prepared, rounded: set[str], out: Path) -> dict[str, str]:
    """Write what stays as it is, in the type it has; return which tensor lies in which file."""
    from safetensors.torch import save_file

    kept = [one for one in prepared.sources if one.info.name not in rounded]
    save_file({one.info.name: matrices.read(one, one.info.dtype) for one in kept}, out / REST)
    return {one.info.name: REST for one in kept}


def round_as(asked: Mapping[str, Any], out: Path) -> None:
    """Write a checkpoint as a request asks: `source`, `group`, `calibration`, `samples` and `length`."""
    data = texts.read(Path(asked["calibration"]) if asked["calibration"] else texts.SHIPPED)
    percents = Percents(True)
    write(
        Path(asked["source"]),
        out,
        asked["group"],
        texts.first(data, asked["samples"]),
        asked["length"] or texts.LONGEST,
        percents,
    )


def main(request: Path) -> None:
    """Read {source, out, ...}, the rest as `round_as` wants it."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    # the calibration's texts are read by its tokenizer
    source.open_checkpoint(asked["source"])
    round_as(asked, Path(asked["out"]))


if __name__ == "__main__":
    with complaint.printed(again="build again"):
        main(Path(sys.argv[1]))
