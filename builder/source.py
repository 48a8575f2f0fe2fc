"""Checkpoint: what a model's files say about it, read without touching the weights."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from builder import architecture, house, weight_format
from builder.errors import SourceError

KINDS = (
    "a folder with config.json and safetensors, a .safetensors, .gguf, .onnx or .pt2 file, scikit-learn's "
    ".pkl, .pickle, .joblib or .skops, XGBoost's .ubj or .json, LightGBM's .txt, ORG/NAME on Hugging Face, "
    "or package:PACKAGE/FILE"
)
"""What a reference may be, for people."""

FLOATS = ("F64", "F32", "F16", "BF16")
"""What weights that are not quantised are stored in, by safetensors' names."""

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""


@dataclass(frozen=True)
class TensorInfo:
    """One weight as its header states it: `dtype` in safetensors' or GGUF's own spelling, size in bytes."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int


@dataclass(frozen=True)
class Checkpoint:
    """A model on disk; `config` speaks Hugging Face's vocabulary whatever the format.

    `path` is the folder, or the GGUF file. `tokenizer_files` is empty for GGUF, which holds its own.
    `fingerprint` identifies the files by name, size, modification time and header (free);
    `digest(checkpoint)` hashes their bytes and is for `convert`.
    """

    format: str
    origin: str
    path: Path
    files: tuple[Path, ...]
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    tokenizer_files: Mapping[str, Path]
    chat_template: str | None
    fingerprint: str
    revision: str = ""
    generation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])

    @property
    def weight_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())


class Source(Protocol):
    """What each file in `sources/` offers: a way to name a checkpoint, and to read it.

    One that can do without a tokenizer has also `read_weights(reference, revision)`, which is as `read`.
    """

    def recognises(self, reference: str) -> bool:
        """Say whether the reference is of this kind; looks at names and magic only."""
        ...

    def read(self, reference: str, revision: str | None) -> Checkpoint:
        """Read what the files say; raise SourceError with what to do instead."""
        ...


def open_checkpoint(
    reference: str | Path, revision: str | None = None, *, tokenizer: bool = True
) -> Checkpoint:
    """Read a checkpoint's facts; no weight is loaded.

    Args:
        reference: a folder, a .gguf or .safetensors file, `org/name` on Hugging Face, or
            `package:PACKAGE/FILE` inside an installed Python package.
        revision: branch, tag or commit, where the kind of reference has one.
        tokenizer: whether a folder has to hold one.

    Raises:
        SourceError: what is missing, truncated, unknown or inconsistent.
    """
    way = _source(str(reference))
    weights_alone = None if tokenizer else getattr(way, "read_weights", None)
    checkpoint: Checkpoint = (weights_alone or way.read)(str(reference), revision)
    _check_tensors(checkpoint)
    return checkpoint


def fetch(checkpoint: Checkpoint, progress: Progress | None = None) -> Checkpoint:
    """Return the checkpoint with all its files on disk, downloading those that are not."""
    if all(file.exists() for file in checkpoint.files):
        return checkpoint
    download = getattr(_source(checkpoint.origin), "fetch", None)
    if download is None:
        missing = next(file for file in checkpoint.files if not file.exists())
        raise SourceError(
            f"{missing} has gone", expected="the file that was read before", remedy="restore it"
        )
    return cast(Checkpoint, download(checkpoint, progress))


def digest(checkpoint: Checkpoint, progress: Progress | None = None) -> dict[str, str]:
    """Return file name -> sha256 of its bytes, in hexadecimal, for every file of the checkpoint.

    Files seen before with the same path, size and modification time are not read again.
    """
    sizes = {file: file.stat().st_size for file in checkpoint.files}
    total, done = sum(sizes.values()), 0
    memory = _Memory(house.cache_folder() / "digests.json")
    digests = {}
    for file in checkpoint.files:
        known = memory.recall(file)
        if known is None:
            known = _hash(file, done, total, progress)
            memory.learn(file, known)
        digests[name_of(checkpoint, file)] = known
        done += sizes[file]
        if progress:
            progress(done, total)
    memory.save()
    return digests


def remembered(checkpoint: Checkpoint) -> dict[str, str] | None:
    """Return what `digest` does as far as that costs no reading: None where a file was not seen before."""
    memory = _Memory(house.cache_folder() / "digests.json")
    found = {name_of(checkpoint, file): memory.recall(file) for file in checkpoint.files if file.is_file()}
    known = {name: value for name, value in found.items() if value is not None}
    return known if len(known) == len(checkpoint.files) else None


def name_of(checkpoint: Checkpoint, file: Path) -> str:
    """Return a file's name within its checkpoint: modules lie in folders and are all called alike."""
    inside = checkpoint.path.is_dir() and file.is_relative_to(checkpoint.path)
    return str(file.relative_to(checkpoint.path)) if inside else file.name


def origin_of(named: str) -> str:
    """Return what was named; a folder of this machine says nothing elsewhere, digests say what was in it."""
    here = Path(named)
    return here.resolve().name if here.exists() else named


def fingerprint(files: Iterable[Path], headers: Iterable[bytes]) -> str:
    """Return 64 hexadecimal digits that change with any file's name, size, time or header."""
    hasher = hashlib.sha256()
    for file in files:
        status = file.stat()
        hasher.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    for header in headers:
        hasher.update(hashlib.sha256(header).digest())
    return hasher.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raise SourceError with the place of the mistake."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SourceError(
            f"{path} is not valid JSON: {error}", expected="a JSON object", remedy="fetch the file again"
        ) from error
    if not isinstance(value, dict):
        raise SourceError(
            f"{path} holds a JSON {type(value).__name__}",
            expected="a JSON object",
            remedy="fetch the file again",
        )
    return value


def _source(reference: str) -> Source:
    for name in house.plugin_names("sources"):
        source = cast(Source, house.plugin("sources", name, option="source"))
        if source.recognises(reference):
            return source
    raise _unknown(reference)


def _unknown(reference: str) -> SourceError:
    if not Path(reference).exists():
        found = f"{reference} does not exist, and is no other kind of reference known here"
    else:
        sources = [house.plugin("sources", name, option="source") for name in house.plugin_names("sources")]
        doubts = [source.doubt(Path(reference)) for source in sources if hasattr(source, "doubt")]
        found = f"{reference} is no kind of checkpoint known here"
        found += "".join(f": {doubt}" for doubt in doubts if doubt)
    return SourceError(found, expected=KINDS, remedy="check the path given with --checkpoint")


def _check_tensors(checkpoint: Checkpoint) -> None:
    family = architecture.load(checkpoint.model_type)
    dimensions = family.dimensions(checkpoint.config)
    told = weight_format.description(checkpoint.config)
    marks = weight_format.load(told).MARKS if told is not None else ()
    if dimensions.layers > len(checkpoint.tensors):
        # one flipped bit of the config would have us name billions of tensors below
        raise SourceError(
            f"{checkpoint.origin} is to have {dimensions.layers} layers and holds "
            f"{len(checkpoint.tensors)} tensors",
            expected="several tensors in each layer",
            remedy="fetch the checkpoint again, or correct its config",
        )
    expected = architecture.expected_tensors(family, checkpoint.config, checkpoint.format, checkpoint.tensors)
    held = checkpoint.tensors
    missing = [name for name in expected if not weight_format.holds(name, held, marks)]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise SourceError(
            f"{checkpoint.origin} lacks the tensor {', '.join(missing[:3])}{more}",
            expected=f"{len(expected)} tensors of a {checkpoint.model_type} with {dimensions.layers} layers",
            remedy="fetch the checkpoint again, or correct its config",
        )
    if told is None and checkpoint.format == "safetensors":
        _require_floats(checkpoint, expected)
    for name, shape in weight_format.shapes(told, expected, held):
        if name not in held or held[name].shape != shape:
            seen = f"{name} of shape {list(held[name].shape)}" if name in held else f"no {name}"
            raise SourceError(
                f"{checkpoint.origin} holds {seen}",
                expected=f"{list(shape)}, by its config",
                remedy="fetch the checkpoint again, or correct its config",
            )


def _require_floats(checkpoint: Checkpoint, names: Iterable[str]) -> None:
    """Raise SourceError for quantised weights that no config describes: without it they stand for nothing."""
    other = [name for name in names if checkpoint.tensors[name].dtype not in FLOATS]
    if other:
        raise SourceError(
            f"{checkpoint.origin} holds {other[0]} as {checkpoint.tensors[other[0]].dtype} "
            f"({len(other)} tensors alike), and says nothing of how it was quantised",
            expected=f"a quantization_config in config.json, or {weight_format.SEPARATE} beside it; "
            "else weights in float32, bfloat16 or float16",
            remedy="take config.json from the model's own repository again",
        )


class _Memory:
    """Digests known from before: a small JSON file that may be lost at any time without harm."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, str] = {}
        self.changed = False
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(stored, dict):
            self.entries = {str(key): str(value) for key, value in stored.items()}

    def recall(self, file: Path) -> str | None:
        return self.entries.get(self._key(file))

    def learn(self, file: Path, value: str) -> None:
        self.entries[self._key(file)] = value
        self.changed = True

    def save(self) -> None:
        if not self.changed:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=self.path.parent, prefix=".digests-", delete=False, encoding="utf-8"
        ) as file:
            try:
                json.dump(self.entries, file, indent=1, sort_keys=True)
                file.flush()
                Path(file.name).replace(self.path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    @staticmethod
    def _key(file: Path) -> str:
        status = file.stat()
        return f"{file.resolve()}|{status.st_size}|{status.st_mtime_ns}"


def _hash(file: Path, done: int, total: int, progress: Progress | None) -> str:
    hasher = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(8 << 20):
            hasher.update(block)
            done += len(block)
            if progress:
                progress(done, total)
    return hasher.hexdigest()
