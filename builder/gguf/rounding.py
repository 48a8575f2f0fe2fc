"""Round the matrices of a GGUF, each to the type that was chosen for it, by llama.cpp's own quantiser.

That quantiser chooses types by the tensors' names, and where it is told to give all the same one it ends the
process at rows that are no whole blocks. So it gets the matrices of one type at a time, in files whose
tensors have names that mean nothing to it. How it rounds a matrix depends on the matrix and the type alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder import files
from builder.errors import ConversionError
from builder.gguf import mixes

FILE_TYPES: Mapping[str, int] = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K": 11,
    "Q4_K": 14, "Q5_K": 16, "Q6_K": 18, "IQ4_NL": 25, "BF16": 32,
}  # fmt: skip
"""Type -> a llama_ftype all of whose matrices have it (llama.cpp, include/llama.h)."""

MIXED_FILE = 1024
"""What general.file_type says of a file whose types were not told: LLAMA_FTYPE_GUESSED."""

Tell = Callable[[int, int], None]


def quantise(plain: Path, out: Path, kind: int, *, pure: bool = False) -> None:
    """Write a GGUF again by llama.cpp's quantiser, as a llama_ftype.

    With `pure` every matrix gets the type that the file is named by. Raises ConversionError where the
    quantiser refuses the numbers.
    """
    from cyllama.llama import llama_cpp

    asked = llama_cpp.LlamaModelQuantizeParams()
    asked.ftype, asked.pure = kind, pure
    try:
        llama_cpp.model_quantize(str(plain), str(out), asked)
    except RuntimeError as error:
        raise ConversionError(
            f"llama.cpp does not round these weights: {error}",
            expected="numbers that are finite, in the shapes of the config",
            remedy="read the log above; pass a checkpoint that is not damaged",
        ) from error


def round_each(plain: Path, chosen: Mapping[str, str], out: Path, tell: Tell) -> None:
    """Write `out`: the tensors of `plain`, those in `chosen` (tensor -> type) rounded to their types.

    `tell` hears how many of the matrices are done. Raises ConversionError where llama.cpp refuses one, or its
    rows are no whole blocks of the type.
    """
    import gguf

    source = gguf.GGUFReader(plain)
    _require_whole_blocks(source, chosen)
    places = {tensor.name: number for number, tensor in enumerate(source.tensors)}
    with files.scratch(out) as folder:
        rounded: dict[str, Any] = {}
        for kind in sorted(set(chosen.values())):
            names = [name for name, wanted in chosen.items() if wanted == kind]
            rounded |= _of_one_type(source, {name: places[name] for name in names}, kind, folder)
            tell(len(rounded), len(chosen))
        _write(source, out, [(one.name, rounded.get(one.name, one)) for one in source.tensors])


def _require_whole_blocks(source: Any, chosen: Mapping[str, str]) -> None:
    """Raise ConversionError where the quantiser would end the process."""
    for tensor in source.tensors:
        kind, columns = chosen.get(tensor.name, "F32"), int(tensor.shape[0])
        if columns % mixes.BLOCKS[kind][0]:
            raise ConversionError(
                f"{tensor.name} has rows of {columns} numbers",
                expected=f"for {kind} a multiple of {mixes.BLOCKS[kind][0]}",
                remedy="report this build",
            )


def _of_one_type(source: Any, places: Mapping[str, int], kind: str, folder: Path) -> dict[str, Any]:
    """Return tensor -> what it became, read from a file in `folder`."""
    import gguf

    plain, out = folder / f"{kind}.plain.gguf", folder / f"{kind}.gguf"
    _write(source, plain, [(f"matrix.{number}.weight", source.tensors[number]) for number in places.values()])
    quantise(plain, out, FILE_TYPES[kind], pure=True)
    plain.unlink()
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(out).tensors}
    result = {name: found[f"matrix.{number}.weight"] for name, number in places.items()}
    for name, tensor in result.items():
        if tensor.tensor_type.name != kind:
            raise ConversionError(
                f"{name} was rounded to {tensor.tensor_type.name}",
                expected=f"{kind}, as it was planned",
                remedy="report this build",
            )
    return result


def _write(source: Any, out: Path, tensors: Sequence[tuple[str, Any]]) -> None:
    """Write a GGUF with the settings of `source` and these tensors, by the names beside them."""
    import gguf

    writer = gguf.GGUFWriter(out, source.fields["general.architecture"].contents(), use_temp_file=False)
    for name, field in source.fields.items():
        # those of the file itself, and what the writer has written already
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        writer.add_key_value(name, field.contents(), field.types[0])
    writer.add_file_type(MIXED_FILE)
    for name, tensor in tensors:
        data = tensor.data
        writer.add_tensor_info(name, data.shape, data.dtype, data.nbytes, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, tensor in tensors:
        writer.write_tensor_data(tensor.data)
    writer.close()
