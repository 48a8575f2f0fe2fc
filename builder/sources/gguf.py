"""A GGUF file, as llama.cpp reads it: weights, settings, tokenizer and chat template in one."""

from __future__ import annotations

from pathlib import Path

from builder import architecture
from builder.architecture import Decoder
from builder.errors import SourceError
from builder.gguf import config
from builder.gguf.header import Header, has_magic, read_header
from builder.source import Checkpoint, Progress, fingerprint


def recognises(reference: str) -> bool:
    """Say whether the reference is a GGUF file, or a folder that holds one and no safetensors."""
    path = Path(reference)
    if path.is_dir():
        return len(list(path.glob("*.gguf"))) == 1 and not any(path.glob("*.safetensors"))
    if path.suffix.lower() == ".gguf":
        return not reference.startswith("package:")
    return path.is_file() and has_magic(path)


def read(reference: str, revision: str | None) -> Checkpoint:
    """Read the header of a GGUF file; `revision` has no meaning for it."""
    path = Path(reference)
    if path.is_dir():
        path = next(path.glob("*.gguf"))
    header = read_header(path)
    translated = config.config(header)
    family = architecture.load(translated["model_type"])
    if not architecture.generates_text(family):
        raise SourceError(
            f"{path} holds a {translated['model_type']}",
            expected="a model that generates text: those are what GGUF is read for here",
            remedy="pass the Hugging Face checkpoint of this model instead",
        )
    _require_tokenizer(header)
    return Checkpoint(
        format="gguf",
        origin=reference,
        path=path,
        files=(path,),
        config={"architectures": [family.HUGGING_FACE_CLASS], **translated},
        tensors=header.tensors,
        tokenizer_files={},
        chat_template=header.settings.get("tokenizer.chat_template"),
        fingerprint=fingerprint([path], [header.bytes_of(0, header.data_offset)]),
        revision=revision or "",
        generation=config.generation(header),
    )


def materialise(
    checkpoint: Checkpoint, family: Decoder, folder: Path, progress: Progress | None = None
) -> None:
    """Write a GGUF checkpoint as a Hugging Face folder in float32, with its tokenizer.

    Args:
        checkpoint: of format `gguf`.
        family: `architecture.load(checkpoint.model_type)`.
        folder: is made; holds config.json, model.safetensors, tokenizer.json and their like afterwards.
        progress: called with the bytes written and the bytes in all.

    Raises:
        SourceError: a tensor or pre-tokenizer that this version cannot translate.
    """
    from builder.gguf import materialise as writer

    writer.materialise(checkpoint, family, folder, progress)


def _require_tokenizer(header: Header) -> None:
    missing = [
        key
        for key, present in (
            ("tokenizer.ggml.model", "tokenizer.ggml.model" in header.settings),
            ("tokenizer.ggml.tokens", "tokenizer.ggml.tokens" in header.arrays),
        )
        if not present
    ]
    if missing:
        raise SourceError(
            f"{header.path} holds no tokenizer: {', '.join(missing)} missing",
            expected="a GGUF file with its vocabulary",
            remedy="convert the model to GGUF again with a current llama.cpp, without --no-vocab",
        )
