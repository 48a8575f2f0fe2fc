"""A Hugging Face folder: config.json, model.safetensors in one piece or in shards, a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder import architecture, trust, weight_format
from builder.errors import SourceError
from builder.safetensors_file import read_header
from builder.source import Checkpoint, TensorInfo, fingerprint, read_json
from builder.tabular import endings

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
SINGLE_FILES = (*endings.PICKLES, endings.SKOPS, ".ubj", ".onnx", ".pt2")
"""Models that are one file, and are named by it."""
TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "tokenizer.model",
)
MODULES = ("modules.json", "sentence_bert_config.json", "*_Pooling/config.json", "*_Dense/*")
"""What sentence-transformers writes beside a checkpoint."""
PREPROCESSOR = "preprocessor_config.json"


def recognises(reference: str) -> bool:
    """Say whether the reference is a folder, or one weight file in it."""
    path = Path(reference)
    if reference.startswith("package:"):
        return False
    if path.is_dir():
        return len(list(path.glob("*.gguf"))) != 1 or any(path.glob("*.safetensors"))
    return path.suffix in (".safetensors", *PICKLES) or path.name == INDEX


def read(reference: str, revision: str | None) -> Checkpoint:
    """Read a folder's JSON files and the headers of its weights; `revision` has no meaning for it."""
    found = read_weights(reference, revision)
    if not found.tokenizer_files:
        find_tokenizer(found.path, found.config)
    return found


def read_weights(reference: str, revision: str | None) -> Checkpoint:
    """Read a folder that may lack a tokenizer, as `read` does else."""
    path = Path(reference)
    if not path.exists():
        raise SourceError(f"{path} does not exist", expected="a checkpoint", remedy="check the path")
    folder = path if path.is_dir() else path.parent
    weights, tensors, headers = _weights(folder, path)
    config = read_config(folder)
    has_tokenizer = (folder / TOKENIZER).is_file()
    tokenizer_files = find_tokenizer(folder, config) if has_tokenizer else {}
    files = (*weights, *find_descriptions(folder), *tokenizer_files.values())
    return Checkpoint(
        format="safetensors",
        origin=reference,
        path=folder,
        files=files,
        config=config,
        tensors=tensors,
        tokenizer_files=tokenizer_files,
        chat_template=read_chat_template(tokenizer_files),
        fingerprint=fingerprint(files, headers),
        revision=revision or "",
        generation=read_generation(folder, config),
    )


def _weights(folder: Path, path: Path) -> tuple[list[Path], dict[str, TensorInfo], list[bytes]]:
    index = folder / INDEX
    if path.suffix in PICKLES:
        raise _pickled(path)
    if path.suffix != ".safetensors" and index.is_file():
        return _sharded(folder, index)
    single = path if path.suffix == ".safetensors" else folder / SINGLE
    if not single.is_file():
        raise _absent(folder)
    header = read_header(single)
    return [single], header.tensors, [header.raw]


def _sharded(folder: Path, index: Path) -> tuple[list[Path], dict[str, TensorInfo], list[bytes]]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise SourceError(
            f"{index} has no weight_map", expected="tensor name -> shard", remedy="fetch the file again"
        )
    tensors: dict[str, TensorInfo] = {}
    headers, shards = [], sorted({str(shard) for shard in weight_map.values()})
    outside = [shard for shard in shards if Path(shard).name != shard]
    if outside:
        raise SourceError(
            f"{index} names {', '.join(outside[:3])}, which is no file of {folder}",
            expected="names of files beside the index",
            remedy="put the shards beside the index, and name them so",
        )
    absent = [shard for shard in shards if not (folder / shard).is_file()]
    if absent:
        raise SourceError(
            f"{index} names {', '.join(absent[:3])}, absent from {folder} ({len(absent)} of {len(shards)})",
            expected=f"{len(shards)} shards",
            remedy="fetch the missing shards",
        )
    for shard in shards:
        header = read_header(folder / shard)
        named = [tensor for tensor, home in weight_map.items() if home == shard]
        lacking = [tensor for tensor in named if tensor not in header.tensors]
        if lacking:
            raise SourceError(
                f"{index} puts {', '.join(lacking[:3])} into {shard}, which holds no such tensor",
                expected=f"{len(named)} tensors in {shard}",
                remedy="fetch the index and its shards again, from one revision",
            )
        tensors |= {tensor: header.tensors[tensor] for tensor in named}
        headers.append(header.raw)
    return [folder / shard for shard in shards], tensors, headers


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json; raise SourceError naming an unknown family or every missing field."""
    path = folder / "config.json"
    if not path.is_file():
        raise SourceError(
            f"{path} does not exist",
            expected="the model's config.json beside its weights",
            remedy="fetch config.json from the model's repository",
        )
    config = weight_format.of_folder(read_json(path), folder / weight_format.SEPARATE, read_json)
    architecture.require_fields(config, ["model_type"], where=str(path))
    architecture.load(str(config["model_type"])).dimensions(config)
    return config


def read_generation(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Read generation_config.json over the token ids of the config."""
    path = folder / "generation_config.json"
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    ids = {name: config[name] for name in names if config.get(name) is not None}
    return ids | (read_json(path) if path.is_file() else {})


def find_descriptions(folder: Path) -> list[Path]:
    """Return the files beside the weights that say what the model is and how it is used."""
    patterns = (
        "config.json",
        "generation_config.json",
        weight_format.SEPARATE,
        INDEX,
        PREPROCESSOR,
        *MODULES,
    )
    return [file for pattern in patterns for file in sorted(folder.glob(pattern)) if file.is_file()]


def find_tokenizer(folder: Path, config: Mapping[str, Any]) -> dict[str, Path]:
    """Return the tokenizer's files by name, none for a model of images.

    Raises SourceError where tokenizer.json is missing.
    """
    if architecture.load(str(config["model_type"])).PIPELINES == ("image_classification",):
        return {}
    files = {name: folder / name for name in TOKENIZER_FILES if (folder / name).is_file()}
    if TOKENIZER in files:
        read_json(files[TOKENIZER])
        return files
    found = f"only {', '.join(files)}" if files else "no tokenizer file"
    raise SourceError(
        f"{folder} holds {found}",
        expected="tokenizer.json",
        remedy="fetch tokenizer.json, or write it with AutoTokenizer's save_pretrained",
    )


def read_chat_template(files: Mapping[str, Path]) -> str | None:
    """Return the template of its own file, else the default one of tokenizer_config.json."""
    if "chat_template.jinja" in files:
        return files["chat_template.jinja"].read_text(encoding="utf-8")
    if "tokenizer_config.json" not in files:
        return None
    template = read_json(files["tokenizer_config.json"]).get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _absent(folder: Path) -> SourceError:
    pickles = sorted(file for file in folder.iterdir() if file.suffix in PICKLES) if folder.is_dir() else []
    if pickles:
        return _pickled(pickles[0])
    gguf = sorted(folder.glob("*.gguf")) if folder.is_dir() else []
    if gguf:
        return SourceError(
            f"{folder} holds {len(gguf)} GGUF files",
            expected="one",
            remedy=f"pass one of them, such as {gguf[0]}",
        )
    models = sorted(file for file in folder.iterdir() if file.suffix.lower() in SINGLE_FILES)
    if models:
        return SourceError(
            f"{folder} is a folder, and holds {models[0].name} in place of {SINGLE}",
            expected="such a model to be named by its file",
            remedy=f"pass the file: {models[0]}",
        )
    return SourceError(
        f"{folder} holds neither {SINGLE} nor {INDEX}",
        expected="safetensors weights",
        remedy="check the path, or fetch the weights",
    )


def _pickled(path: Path) -> SourceError:
    read = " or ".join(endings.PICKLES)
    told = f"; --trust-pickle is about scikit-learn's {read} files" if trust.is_granted() else ""
    return SourceError(
        f"{path} {trust.PICKLE}{told}",
        expected="safetensors weights",
        remedy="fetch the safetensors revision, or convert it where you trust it: save_pretrained(FOLDER)",
    )
