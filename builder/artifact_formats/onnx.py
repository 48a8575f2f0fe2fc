"""Decoders as ONNX, as onnxruntime-genai's model builder writes them.

Matrices in blocks are those of MatMulNBits and GatherBlockQuantized:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from builder import architecture
from builder.architecture import Decoder, Dimensions
from builder.errors import ConversionError
from builder.kept import Kept

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

IN_BLOCKS = "MatMulNBits"
LOOKED_UP = ("Gather", "GatherBlockQuantized")
"""Operators of an embedding: where it is the head's own matrix, that was counted already."""

EMBEDDING = "model.embed_tokens"
HEAD = "lm_head"

_KINDS = {
    "FLOAT": "F32", "FLOAT16": "F16", "BFLOAT16": "BF16", "DOUBLE": "F64", "FLOAT8E4M3FN": "F8_E4M3",
    "INT8": "I8", "UINT8": "U8", "INT32": "I32", "INT64": "I64",
}  # fmt: skip
"""ONNX's names of types -> those of safetensors."""

_NAMES = (
    (r"(.*)layers\.\d+\.final_norm_layernorm", r"\1norm"),
    (r"(.*)\.attn\.([qk])_norm\.layernorm", r"\1.self_attn.\2_norm"),
    (r"(.*)\.attn\.([qkvo]_proj)", r"\1.self_attn.\2"),
)
"""What the model builder calls a module -> what Hugging Face does; all others are called alike."""

_FUSED = re.compile(r"(.*)\.attn\.qkv_proj")


@dataclass(frozen=True)
class _Matrix:
    """A matrix by its node: `module` is what the model builder calls it, `inputs` are its initializers.

    `bits` and `block` are 0 for plain numbers. `shape` is (out, in); `is_turned` says that it lies as
    (in, out).
    """

    module: str
    inputs: tuple[Any, ...]
    bits: int
    block: int
    shape: tuple[int, int]
    is_turned: bool

    @property
    def kind(self) -> str:
        if not self.bits:
            return _kind(self.inputs[0])
        has_zeros = len(self.inputs) > 2 and self.inputs[2] is not None
        return f"{'UINT' if has_zeros else 'INT'}{self.bits}/{self.block}"


def tensors(folder: Path) -> list[Kept]:
    """Return what every initializer is kept in; a matrix in blocks is one tensor with its scales.

    Its type is INT or, with zero points, UINT, its bits, and behind a slash the weights that share a scale.
    """
    model = _model(folder)
    matrices = _matrices(model)
    found = [
        Kept(
            one.module,
            one.shape,
            one.kind,
            sum(_size(part) for part in one.inputs if part is not None),
            is_matrix=True,
        )
        for one in matrices
    ]
    taken = {part.name for one in matrices for part in one.inputs if part is not None}
    others = [one for one in model.graph.initializer if one.name not in taken]
    return found + [
        Kept(one.name, tuple(one.dims), _kind(one), _size(one), is_matrix=False) for one in others
    ]


def stands_in(tensor: Kept, promised: tuple[str, ...]) -> tuple[str, str]:
    """Return the first of what was promised; one whose last block is not whole is kept as promised."""
    if tensor.name == EMBEDDING:
        return promised[0], "a table that is looked up"
    return promised[0], "chosen otherwise"


def weights(folder: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Yield every weight under Hugging Face's name; query, key and value come of one matrix.

    Raises ConversionError for a node whose weights are no constants.
    """
    model = _model(folder)
    sizes = cast(Decoder, architecture.load(config["model_type"])).dimensions(config)
    matrices = _matrices(model)
    known = {one.module for one in matrices}
    for one in matrices:
        values = _values(one, folder)
        yield from _named(f"{one.module}.weight", values, sizes)
        if one.module == HEAD and EMBEDDING not in known:
            yield f"{EMBEDDING}.weight", values
    for tensor in model.graph.initializer:
        name = tensor.name.replace(".Add.bias", ".bias")
        if name.endswith((".bias", "norm.weight", "layernorm.weight")):
            yield from _named(name, _array(tensor, folder).astype("float32"), sizes)


def _model(folder: Path) -> Any:
    import onnx

    return onnx.load(folder / "model.onnx", load_external_data=False)


def _matrices(model: Any) -> list[_Matrix]:
    """Return every matrix once: one that is looked up and multiplied with belongs to the head."""
    from onnx import helper

    initializers = {one.name: one for one in model.graph.initializer}
    found: list[_Matrix] = []
    lookups = []
    for node in model.graph.node:
        module = node.name.strip("/").rpartition("/")[0].replace("/", ".")
        told = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type == IN_BLOCKS:
            parts = tuple(initializers.get(name) for name in node.input[1:])
            found.append(
                _Matrix(module, parts, told["bits"], told["block_size"], (told["N"], told["K"]), False)
            )
        elif node.op_type == "MatMul" and node.input[1] in initializers:
            matrix = initializers[node.input[1]]
            found.append(_Matrix(module, (matrix,), 0, 0, (matrix.dims[1], matrix.dims[0]), True))
        elif node.op_type in LOOKED_UP and module == EMBEDDING and node.input[0] in initializers:
            lookups.append(_table(node, told, initializers))
    taken = {part.name for one in found for part in one.inputs if part is not None}
    return found + [one for one in lookups if one.inputs[0].name not in taken]


def _table(node: Any, told: Mapping[str, Any], initializers: Mapping[str, Any]) -> _Matrix:
    """Return the embedding; of one in blocks a row's numbers lie packed into bytes."""
    parts = (initializers[node.input[0]], *(initializers.get(name) for name in node.input[2:]))
    rows, columns = parts[0].dims[0], math.prod(parts[0].dims[1:])
    if node.op_type == "Gather":
        return _Matrix(EMBEDDING, parts, 0, 0, (rows, columns), False)
    bits = told["bits"]
    return _Matrix(EMBEDDING, parts, bits, told["block_size"], (rows, columns * 8 // bits), False)


def _values(one: _Matrix, folder: Path) -> npt.NDArray[np.float32]:
    """Return the float32 numbers [out, in] that a matrix stands for."""
    import numpy as np

    parts = [None if part is None else _array(part, folder) for part in one.inputs]
    if any(part is None for part in parts[:1]):
        raise ConversionError(f"{folder}: the weights of {one.module} are no constant")
    matrix = cast("npt.NDArray[Any]", parts[0])
    if not one.bits:
        plain: npt.NDArray[np.float32] = matrix.astype(np.float32)
        return plain.T if one.is_turned else plain
    scales = cast("npt.NDArray[Any]", parts[1])
    zeros = parts[2] if len(parts) > 2 else None
    groups = parts[3] if len(parts) > 3 else None
    return unpacked(matrix, scales, zeros, groups, one.bits, one.block, one.shape)


def _array(tensor: Any, folder: Path) -> npt.NDArray[Any]:
    """Return the numbers of an initializer, in its own type.

    onnx itself refuses files that are linked from elsewhere, as those of every repository are.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    if tensor.data_location != TensorProto.EXTERNAL:
        inside: npt.NDArray[Any] = numpy_helper.to_array(tensor)
        return inside
    told = {entry.key: entry.value for entry in tensor.external_data}
    found: npt.NDArray[Any] = np.memmap(
        folder / told["location"],
        mode="r",
        dtype=helper.tensor_dtype_to_np_dtype(tensor.data_type),
        offset=int(told.get("offset", 0)),
        shape=tuple(tensor.dims),
    )
    return found


def unpacked(
    matrix: npt.NDArray[Any],
    scales: npt.NDArray[Any],
    zeros: npt.NDArray[Any] | None,
    groups: npt.NDArray[Any] | None,
    bits: int,
    block: int,
    shape: tuple[int, int],
) -> npt.NDArray[np.float32]:
    """Return (number - zero point) x scale of each weight, float32 [out, in].

    Args:
        matrix: the numbers, uint8, `bits` each, the first in the lowest bits; every block begins a byte.
        scales: one of each block, [out, blocks] in any shape.
        zeros: the zero points, packed likewise, each row beginning a byte, or plain numbers in a type of
            their own; None for the middle of what fits into the bits.
        groups: the block of each column, int32 [in], where they are not one after the other, else None.
    """
    import numpy as np

    rows, columns = shape
    blocks = -(-columns // block)
    numbers = _bits(matrix.reshape(rows, blocks, -1), bits)[..., :block].reshape(rows, -1)[:, :columns]
    place = np.arange(columns) // block if groups is None else groups
    each = scales.reshape(rows, blocks).astype(np.float32)
    if zeros is None:
        middle = np.full((rows, blocks), 1 << (bits - 1), np.float32)
    elif zeros.dtype == np.uint8:
        middle = _bits(zeros.reshape(rows, -1), bits)[:, :blocks].astype(np.float32)
    else:
        middle = zeros.reshape(rows, blocks).astype(np.float32)
    found: npt.NDArray[np.float32] = (numbers.astype(np.float32) - middle[:, place]) * each[:, place]
    return found


def _bits(packed: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Return the numbers of `bits` each, the lowest first, in the place of the last axis of bytes."""
    import numpy as np

    if 8 % bits:
        raise ConversionError(f"weights of {bits} bits", expected="2, 4 or 8, which fill bytes")
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    found = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return found.reshape(*packed.shape[:-1], -1)


def _named(
    name: str, values: npt.NDArray[np.float32], sizes: Dimensions
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Yield values under the names of Hugging Face, in parts where it has several tensors of them."""
    import numpy as np

    module, _, part = name.rpartition(".")
    fused = _FUSED.fullmatch(module)
    if fused:
        query = sizes.heads * sizes.head_size
        shared = sizes.key_value_heads * sizes.head_size
        for role, rows in zip("qkv", np.split(values, [query, query + shared]), strict=True):
            yield f"{fused[1]}.self_attn.{role}_proj.{part}", rows
        return
    for pattern, name_there in _NAMES:
        module = re.sub(f"^{pattern}$", name_there, module)
    yield f"{module}.{part}", values


def _kind(tensor: Any) -> str:
    from onnx import TensorProto

    name = str(TensorProto.DataType.Name(tensor.data_type))
    return _KINDS.get(name, name)


def _size(tensor: Any) -> int:
    """Return the bytes of an initializer, as its type and dimensions say."""
    from onnx import helper

    kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(math.prod(tensor.dims)) * int(kind.itemsize)
