"""Write a GGUF checkpoint as a Hugging Face folder in float32, a few rows at a time."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.architecture import Decoder, Dimensions, tensor_names
from builder.errors import SourceError
from builder.gguf import tokenizer
from builder.gguf.header import Header, read_header
from builder.source import Checkpoint, Progress, TensorInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CHUNK_ELEMENTS = 1 << 23
"""Elements translated at once: 32 MiB of float32."""

IGNORED = frozenset({"rope_freqs.weight"})
"""Tensors that config.json already speaks for."""


@dataclass(frozen=True)
class Move:
    """A tensor of a GGUF and where it goes; `rotary_heads` are those whose rows llama.cpp has reordered."""

    source: str
    target: str
    shape: tuple[int, ...]
    rotary_heads: int

    @property
    def elements(self) -> int:
        total = 1
        for extent in self.shape:
            total *= extent
        return total


def materialise(
    checkpoint: Checkpoint, family: Decoder, folder: Path, progress: Progress | None = None
) -> None:
    """Write config, weights, tokenizer and chat template; see `builder.sources.gguf.materialise`."""
    # before anything is written
    _moves(checkpoint, family)
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", {**checkpoint.config, "torch_dtype": "float32"})
    _write_json(folder / "generation_config.json", dict(checkpoint.generation))
    write_tokenizer(checkpoint, folder)
    write_weights(checkpoint, family, folder / "model.safetensors", progress)


def write_weights(
    checkpoint: Checkpoint, family: Decoder, path: Path, progress: Progress | None = None
) -> None:
    """Write the weights alone, in float32; raise SourceError for a tensor that no model of the family has."""
    _write(read_header(checkpoint.path), _moves(checkpoint, family), path, progress)


def write_tokenizer(checkpoint: Checkpoint, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and, where there is one, chat_template.jinja."""
    header = read_header(checkpoint.path)
    context = int(checkpoint.config["max_position_embeddings"])
    _write_json(folder / "tokenizer_config.json", tokenizer.tokenizer_config(header, context))
    (folder / "tokenizer.json").write_text(tokenizer.tokenizer_json(header), encoding="utf-8")
    if checkpoint.chat_template is not None:
        (folder / "chat_template.jinja").write_text(checkpoint.chat_template, encoding="utf-8")


def moves(tensors: Mapping[str, TensorInfo], family: Decoder, dimensions: Dimensions) -> list[Move]:
    """Return where each tensor of a GGUF goes that a model of these dimensions has."""
    targets = {(role, layer): name for role, layer, name in tensor_names(family.HUGGING_FACE, dimensions)}
    return [
        Move(
            source,
            targets[role, layer],
            tensors[source].shape,
            rotary_heads(family, role, dimensions),
        )
        for role, layer, source in tensor_names(family.GGUF, dimensions)
    ]


def _moves(checkpoint: Checkpoint, family: Decoder) -> list[Move]:
    found = moves(checkpoint.tensors, family, family.dimensions(checkpoint.config))
    unknown = sorted(checkpoint.tensors.keys() - {move.source for move in found} - IGNORED)
    if unknown:
        raise SourceError(
            f"{checkpoint.origin} holds {', '.join(unknown[:3])}, which no {checkpoint.model_type} has",
            expected=f"the {len(found)} tensors of a {checkpoint.model_type}",
            remedy="pass the Hugging Face checkpoint of this model instead",
        )
    return found


def rotary_heads(family: Decoder, role: str, dimensions: Dimensions) -> int:
    """Return how many heads' rows llama.cpp reorders in the tensor of a role; 0 where it does not."""
    if role not in family.GGUF_PERMUTED:
        return 0
    return dimensions.heads if role.startswith("query") else dimensions.key_value_heads


def _write(header: Header, moves: list[Move], path: Path, progress: Progress | None) -> None:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    total = 0
    for move in moves:
        end = total + 4 * move.elements
        entries[move.target] = {"dtype": "F32", "shape": move.shape, "data_offsets": [total, end]}
        total = end
    described = json.dumps(entries, separators=(",", ":")).encode()
    described += b" " * (-len(described) % 8)
    done = 0
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(described)) + described)
        for move in moves:
            for rows in values(header, move):
                file.write(rows.tobytes())
                done += rows.nbytes
                if progress:
                    progress(done, total)


def values(header: Header, move: Move) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the tensor's rows as float32, some at a time, in Hugging Face's order."""
    import numpy as np
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    information, place = header.tensors[move.source], header.places[move.source]
    rows = move.elements // move.shape[-1] if len(move.shape) > 1 else 1
    packed: npt.NDArray[np.uint8] = np.memmap(
        header.path, mode="r", dtype=np.uint8, offset=place.offset, shape=(rows, information.nbytes // rows)
    )
    if len(move.shape) == 1 and move.rotary_heads:
        # a bias has one element per row; it is never quantized
        packed = packed.reshape(move.shape[0], -1)
        rows = move.shape[0]
    order = rotary_order(rows, move.rotary_heads) if move.rotary_heads else None
    step = max(1, CHUNK_ELEMENTS * rows // move.elements)
    for start in range(0, rows, step):
        # whole rows are whole blocks, so the rows can be put in order before they are unpacked
        chosen = packed[start : start + step] if order is None else packed[order[start : start + step]]
        try:
            yield np.asarray(
                dequantize(np.ascontiguousarray(chosen), GGMLQuantizationType(place.kind)), dtype="<f4"
            )
        except (NotImplementedError, ValueError) as error:
            raise SourceError(
                f"{header.path}: {move.source} is {information.dtype}, which cannot be unpacked ({error})",
                expected="a type that the gguf package can unpack",
                remedy="quantize the model to another type with llama-quantize, such as Q8_0",
            ) from error


def rotary_order(rows: int, heads: int) -> npt.NDArray[np.int64]:
    """Return where each row of Hugging Face's order lies in llama.cpp's.

    Hugging Face keeps the two halves of a head one after the other, llama.cpp interleaves them.
    """
    import numpy as np

    return np.arange(rows).reshape(heads, rows // heads // 2, 2).swapaxes(1, 2).ravel()


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
