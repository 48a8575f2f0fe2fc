"""A model on the Hugging Face hub: `ORG/NAME`; headers first, weights only when `fetch` is called."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path
from typing import Any

from builder import source, weight_format
from builder.errors import SourceError
from builder.source import Checkpoint, Progress
from builder.sources import safetensors

PATTERN = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
DESCRIPTIONS = [
    *("config.json", "generation_config.json", weight_format.SEPARATE),
    *(safetensors.INDEX, safetensors.PREPROCESSOR),
    *safetensors.MODULES,
    *safetensors.TOKENIZER_FILES,
]
FILE_SUFFIXES = (
    *(
        ".gguf",
        ".safetensors",
        ".json",
        ".onnx",
        ".pt2",
        ".pkl",
        ".pickle",
        ".joblib",
        ".skops",
        ".ubj",
        ".txt",
    ),
    *safetensors.PICKLES,
)


def recognises(reference: str) -> bool:
    """Say whether the reference looks like `ORG/NAME` and no such path exists here."""
    return (
        PATTERN.fullmatch(reference) is not None
        and not reference.endswith(FILE_SUFFIXES)
        and not Path(reference).exists()
    )


def read(reference: str, revision: str | None) -> Checkpoint:
    """Read a model's description from the cache or the hub; `revision` of the result is the commit.

    Where the weights are not in the cache, only their headers are downloaded, and `files` names where
    they will be.

    Raises:
        SourceError: no such model, gated, or no connection.
    """
    cached = _snapshot(reference, revision, local=True)
    if cached is not None and _complete(cached):
        return _pinned(source.open_checkpoint(cached), reference, cached.name)
    folder = _snapshot(reference, revision, local=False, patterns=DESCRIPTIONS)
    assert folder is not None
    if _complete(folder):
        return _pinned(source.open_checkpoint(folder), reference, folder.name)
    return _described(reference, folder)


def fetch(checkpoint: Checkpoint, progress: Progress | None = None) -> Checkpoint:
    """Download the weights of the pinned commit; return the checkpoint with every file on disk."""
    total = sum(tensor.nbytes for tensor in checkpoint.tensors.values())
    if progress:
        progress(0, total)
    names = [source.name_of(checkpoint, file) for file in checkpoint.files]
    folder = _snapshot(checkpoint.origin, checkpoint.revision, local=False, patterns=names)
    assert folder is not None
    if progress:
        progress(total, total)
    return _pinned(source.open_checkpoint(folder), checkpoint.origin, checkpoint.revision)


def _complete(folder: Path) -> bool:
    index = folder / safetensors.INDEX
    if index.is_file():
        shards = set(source.read_json(index).get("weight_map", {}).values())
        return all((folder / str(shard)).is_file() for shard in shards)
    return (folder / safetensors.SINGLE).is_file()


def _described(reference: str, folder: Path) -> Checkpoint:
    from huggingface_hub import get_safetensors_metadata

    config = safetensors.read_config(folder)
    tokenizer_files = safetensors.find_tokenizer(folder, config)
    try:
        metadata = get_safetensors_metadata(reference, revision=folder.name)
    except Exception as error:
        raise _unreachable(reference, error) from error
    tensors = {}
    for file in metadata.files_metadata.values():
        for name, entry in file.tensors.items():
            begin, end = entry.data_offsets
            tensors[name] = source.TensorInfo(name, tuple(entry.shape), str(entry.dtype), end - begin)
    weights = [folder / name for name in metadata.files_metadata]
    present = [*safetensors.find_descriptions(folder), *tokenizer_files.values()]
    described = Checkpoint(
        format="safetensors",
        origin=reference,
        path=folder,
        files=(*weights, *present),
        config=config,
        tensors=tensors,
        tokenizer_files=tokenizer_files,
        chat_template=safetensors.read_chat_template(tokenizer_files),
        fingerprint="",
        generation=safetensors.read_generation(folder, config),
    )
    return _pinned(described, reference, folder.name)


def _pinned(checkpoint: Checkpoint, reference: str, commit: str) -> Checkpoint:
    # a commit says what the files hold, before and after they are downloaded
    identity = hashlib.sha256(f"{reference}@{commit}".encode()).hexdigest()
    return dataclasses.replace(checkpoint, origin=reference, revision=commit, fingerprint=identity)


def _snapshot(
    reference: str, revision: str | None, *, local: bool, patterns: list[str] | None = None
) -> Path | None:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise SourceError(
            f"{reference} is on Hugging Face, and huggingface_hub is not installed",
            expected="huggingface_hub",
            remedy="pip install huggingface_hub, or pass --checkpoint PATH",
        ) from error
    options: dict[str, Any] = {"revision": revision, "local_files_only": local, "allow_patterns": patterns}
    try:
        return Path(snapshot_download(reference, **options))
    except Exception as error:
        if local:
            return None
        raise _unreachable(reference, error) from error


def _unreachable(reference: str, error: Exception) -> SourceError:
    kinds = {
        "GatedRepoError": ("is gated by its licence", "accept it on huggingface.co and set HF_TOKEN"),
        "RepositoryNotFoundError": ("does not exist on Hugging Face, or is private", "set HF_TOKEN"),
        "RevisionNotFoundError": ("has no such revision", "pass a branch, tag or commit that exists"),
        "NotASafetensorsRepoError": ("holds no safetensors weights", "choose a revision with safetensors"),
    }
    unknown = ("cannot be reached on Hugging Face, and is not in the local cache", "connect to the network")
    what, remedy = kinds.get(type(error).__name__, unknown)
    first = [line.strip() for line in str(error).strip().splitlines()[:1]]
    return SourceError(
        f"{reference} {what} ({': '.join([type(error).__name__, *first])})",
        expected="the model's files, from the hub or from disk",
        remedy=f"{remedy}, or pass --checkpoint PATH to a folder or GGUF file",
    )
