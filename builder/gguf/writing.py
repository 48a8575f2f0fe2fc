"""Write a Hugging Face folder as one GGUF file, its numbers as they are, a tensor at a time.

The file has no tokenizer: whoever asks the model sends ids. Keys and their meaning are those of
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; matrices keep their type, vectors are float32, as
llama.cpp expects norms and biases to be.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from builder import architecture
from builder.architecture import Decoder, Dimensions, tensor_names
from builder.errors import ConversionError
from builder.gguf import config as gguf_config
from builder.gguf.materialise import rotary_heads, rotary_order

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Progress = Callable[[int, int], None]

NAMES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""model_type -> what llama.cpp calls the graph (its llama-arch.cpp)."""


def require(config: Mapping[str, Any]) -> None:
    """Raise ConversionError for a config that llama.cpp would compute otherwise, or not at all."""
    name = config["model_type"]
    if name not in NAMES:
        raise ConversionError(
            f"config.json: model_type is {name!r}, which is not written as a GGUF yet",
            expected=f"one of {', '.join(NAMES)}",
            remedy="choose another --target",
        )
    sizes = cast(Decoder, architecture.load(name)).dimensions(config)
    if sizes.sliding_window is not None and sizes.sliding_window < sizes.context_length:
        raise ConversionError(
            f"config.json: attention looks back {sizes.sliding_window:,} tokens of {sizes.context_length:,}, "
            "of which llama.cpp's graph of this family knows nothing",
            expected="a model that looks back on all",
            remedy="choose another --target",
        )
    _rotary_factors(config, sizes)


def write(folder: Path, out: Path, progress: Progress) -> None:
    """Write config and weights of a checkpoint in safetensors; raise ConversionError as `require` does."""
    import gguf

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    require(config)
    family = cast(Decoder, architecture.load(config["model_type"]))
    sizes = family.dimensions(config)
    writer = gguf.GGUFWriter(out, NAMES[config["model_type"]], use_temp_file=False)
    _describe(writer, config, sizes)
    tensors = _Tensors(folder)
    targets = {(role, layer): name for role, layer, name in tensor_names(family.GGUF, sizes)}
    moves = [
        (name, targets[role, layer], rotary_heads(family, role, sizes))
        for role, layer, name in tensor_names(family.HUGGING_FACE, sizes)
    ]
    factors = _rotary_factors(config, sizes)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for source, target, _ in moves:
        _announce(writer, target, *tensors.kind(source))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors)
    for done, (source, _, heads) in enumerate(moves, 1):
        writer.write_tensor_data(_reordered(tensors.read(source), heads))
        progress(done, len(moves))
    writer.close()


def _describe(writer: Any, config: Mapping[str, Any], sizes: Dimensions) -> None:
    writer.add_vocab_size(sizes.vocabulary_size)
    writer.add_context_length(sizes.context_length)
    writer.add_embedding_length(sizes.hidden_size)
    writer.add_block_count(sizes.layers)
    writer.add_feed_forward_length(sizes.intermediate_size)
    writer.add_head_count(sizes.heads)
    writer.add_head_count_kv(sizes.key_value_heads)
    writer.add_key_length(sizes.head_size)
    writer.add_value_length(sizes.head_size)
    writer.add_rope_dimension_count(sizes.head_size)
    writer.add_rope_freq_base(sizes.rope_theta)
    writer.add_layer_norm_rms_eps(sizes.norm_epsilon)
    # llama.cpp's word for a file whose ids nobody spells
    writer.add_tokenizer_model("none")
    kind, scaling = _scaling(config)
    if kind in ("linear", "yarn"):
        import gguf

        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(float(scaling["factor"]))
        if kind == "yarn":
            original = scaling.get("original_max_position_embeddings", sizes.context_length)
            writer.add_rope_scaling_orig_ctx_len(int(original))


def _scaling(config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the kind of the rotary embedding's scaling, "default" for none, and its settings.

    Raises ConversionError for one that a GGUF has no words for.
    """
    told = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = told.get("rope_type") or told.get("type") or "default"
    if kind not in ("default", "linear", "yarn", "llama3"):
        raise ConversionError(
            f"config.json: the rotary embedding is scaled by {kind!r}",
            expected="default, linear, yarn or llama3: others cannot be told to llama.cpp",
            remedy="choose another --target",
        )
    return kind, told


def _rotary_factors(config: Mapping[str, Any], sizes: Dimensions) -> npt.NDArray[np.float32] | None:
    """Return what each rotary frequency is divided by, float32 [head_size / 2]; None where by nothing."""
    import numpy as np

    kind, scaling = _scaling(config)
    if kind != "llama3":
        return None
    usual = (gguf_config.LOW_FREQUENCY, gguf_config.HIGH_FREQUENCY, gguf_config.ORIGINAL_CONTEXT)
    fields = ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    found = tuple(scaling.get(name) for name in fields)
    if found != usual:
        raise ConversionError(
            f"config.json: Llama 3's scaling with {', '.join(map(str, found))} for {', '.join(fields)}",
            expected=f"{', '.join(map(str, usual))}, as every published Llama 3 has them",
            remedy="choose another --target",
        )
    factors = gguf_config.llama3_factors(sizes.head_size // 2, sizes.rope_theta, float(scaling["factor"]))
    return np.array(factors, dtype=np.float32)


def _announce(writer: Any, name: str, shape: tuple[int, ...], kind: str) -> None:
    import gguf
    import numpy as np

    if len(shape) == 1 or kind == "F32":
        writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * int(np.prod(shape)))
        return
    raw = gguf.GGMLQuantizationType[kind]
    # of a type that numpy lacks the shape is told in bytes
    in_bytes = (*shape[:-1], 2 * shape[-1])
    writer.add_tensor_info(name, in_bytes, np.dtype(np.uint8), int(np.prod(in_bytes)), raw_dtype=raw)


def _reordered(values: npt.NDArray[Any], heads: int) -> npt.NDArray[Any]:
    """Return rows in llama.cpp's order."""
    import numpy as np

    if not heads:
        return values
    return values[np.argsort(rotary_order(len(values), heads))]


def _names(file: Any) -> list[str]:
    names: list[str] = file.keys()
    return names


class _Tensors:
    """The tensors of a Hugging Face folder, by name, in whichever file they lie."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        files: list[Any] = [safe_open(file, framework="pt") for file in sorted(folder.glob("*.safetensors"))]
        self._homes = {name: file for file in files for name in _names(file)}

    def kind(self, name: str) -> tuple[tuple[int, ...], str]:
        """Return shape and type, F32, F16 or BF16."""
        part = self._homes[name].get_slice(name)
        return tuple(part.get_shape()), part.get_dtype()

    def read(self, name: str) -> npt.NDArray[Any]:
        """Return a vector as float32, a matrix as it lies: float32, or bytes [rows, 2 x columns]."""
        import numpy as np
        import torch

        tensor = self._homes[name].get_tensor(name)
        if tensor.dim() == 1 or tensor.dtype == torch.float32:
            found: npt.NDArray[Any] = tensor.float().numpy()
            return found
        return np.ascontiguousarray(tensor.view(torch.int16).numpy()).view(np.uint8)
