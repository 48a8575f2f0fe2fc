"""One GGUF of the tensors of several, which hold the same model in different types.

How llama.cpp rounds a matrix depends on the matrix and the type alone: a file of each type has all that any
mix of them needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.errors import ConversionError


def assemble(sources: Mapping[str, Path], chosen: Mapping[str, str], out: Path) -> None:
    """Write `out`, each tensor as it lies in the file of its type.

    Args:
        sources: type -> a file that has every matrix in it, or in what stands in for it.
        chosen: tensor -> type, of all matrices; vectors are alike in all files.

    Raises:
        ConversionError: a tensor has another type in its file.
    """
    import gguf

    readers = {kind: gguf.GGUFReader(path) for kind, path in sources.items()}
    tensors = {kind: {one.name: one for one in reader.tensors} for kind, reader in readers.items()}
    first = next(iter(readers))
    writer = gguf.GGUFWriter(out, readers[first].fields["general.architecture"].contents())
    _copy_settings(writer, readers[first])
    found = [tensors[chosen.get(name, first)][name] for name in tensors[first]]
    for tensor in found:
        kind = tensor.tensor_type.name
        if kind != chosen.get(tensor.name, kind):
            raise ConversionError(
                f"{tensor.name} was rounded to {kind}",
                expected=f"{chosen[tensor.name]}, as it was planned",
                remedy="report this build",
            )
        writer.add_tensor_info(
            tensor.name, tensor.data.shape, tensor.data.dtype, tensor.n_bytes, raw_dtype=tensor.tensor_type
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in found:
        writer.write_tensor_data(tensor.data)
    writer.close()


def _copy_settings(writer: Any, reader: Any) -> None:
    for name, field in reader.fields.items():
        # those of the file itself, and what the writer has written already
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        writer.add_key_value(name, field.contents(), field.types[0])
