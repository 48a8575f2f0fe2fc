"""A folder that `trtllm-build` wrote: config.json and one rank{n}.engine for each rank.

config.json is TensorRT-LLM's EngineConfig (tensorrt_llm/builder.py): `version`, `pretrained_config` and
`build_config`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import engine_file, reading
from builder.errors import SourceError
from builder.planning.placement import Gpu
from builder.planning.versions import Container

MOST_RANKS = 4096
_LISTED = 4
_SECTIONS = {"version": str, "pretrained_config": dict, "build_config": dict}
_VERSION = re.compile(r"\d+\.\d+([.abrc+].*)?")
_MODES = ("draft_tokens_external", "medusa", "lookahead_decoding", "explicit_draft_tokens", "eagle")
"""SpeculativeDecodingMode's names after NONE, bit 0, each one bit higher."""
_DIVIDED = ("world_size", "tp_size", "pp_size", "cp_size")
"""Of `mapping`: all ranks, and what their number is the product of."""


@dataclass(frozen=True)
class EngineFolder:
    """What an engine was built by and for; 0 and "" are not told.

    `version` is TensorRT-LLM's, `tensorrt` that of the library that wrote the ranks, `compute` the capability
    of the GPU that it was built on, where our own record beside it says so. `dtype` and `logits` are
    TensorRT-LLM's names, such as float16; `drafting` is how tokens are guessed ahead, "" where they are not.
    """

    path: Path
    version: str
    tensor_parallel: int
    pipeline_parallel: int
    ranks: int
    expert_parallel: int = 1
    hosts: int = 1
    architecture: str = ""
    dtype: str = ""
    logits: str = ""
    max_batch_size: int = 0
    max_beam_width: int = 0
    max_seq_len: int = 0
    max_num_tokens: int = 0
    quantization: str = ""
    cache: str = ""
    drafting: str = ""
    tensorrt: str = ""
    compute: str = ""


def read(folder: Path) -> EngineFolder:
    """Read an engine's folder; raise SourceError with what is missing or broken in it."""
    told = _config(folder)
    model, built = told["pretrained_config"], told["build_config"]
    ranks, tensor, pipeline, _ = (model["mapping"].get(name, 1) for name in _DIVIDED)
    _require_ranks(folder, ranks)
    quantization = _table(model, "quantization")
    return EngineFolder(
        path=folder,
        version=str(told["version"]),
        tensor_parallel=tensor,
        pipeline_parallel=pipeline,
        ranks=ranks,
        # -1 stands for what follows, and older ones do not say it
        expert_parallel=_number(model["mapping"], "moe_ep_size") or 1,
        hosts=engine_file.hosts(model["mapping"]),
        architecture=str(model.get("architecture") or ""),
        dtype=str(model.get("dtype") or ""),
        logits=str(model.get("logits_dtype") or ""),
        max_batch_size=_number(built, "max_batch_size"),
        max_beam_width=_number(built, "max_beam_width"),
        max_seq_len=_number(built, "max_seq_len"),
        max_num_tokens=_number(built, "max_num_tokens"),
        quantization=str(quantization.get("quant_algo") or ""),
        cache=str(quantization.get("kv_cache_quant_algo") or ""),
        drafting=_drafting(built.get("speculative_decoding_mode")),
        tensorrt=engine_file.version(folder / engine_file.FIRST),
        compute=_compute(folder),
    )


def without(folder: Path, what: str) -> str:
    """Say how a folder is not there, or lacks something, after its name."""
    if folder.is_dir():
        return f"holds no {what}"
    return "is a file, and no folder" if folder.exists() else "does not exist"


def require_fits(engine: EngineFolder, box: Container, card: Gpu | None) -> None:
    """Raise SourceError for an engine of another TensorRT than a container's, or of another GPU."""
    if engine.tensorrt and box.tensorrt and engine.tensorrt != box.tensorrt:
        raise SourceError(
            f"{engine.path} was built by TensorRT {engine.tensorrt}, and {box.tag} has {box.tensorrt}",
            expected=f"an engine of TensorRT {box.tensorrt}",
            remedy="serve it in the container that it was built in, or build it again in this one",
        )
    if card is not None and engine.compute and engine.compute != card.compute:
        raise SourceError(
            f"{engine.path} was built for compute capability {engine.compute}, and {card.title} has "
            f"{card.compute}",
            expected=f"a GPU of compute capability {engine.compute}",
            remedy="build it again on such a GPU",
        )


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not folder.is_dir() or not path.is_file():
        raise SourceError(
            f"{folder} {without(folder, 'config.json')}",
            expected="the folder that `trtllm-build` wrote: config.json and rank*.engine",
            remedy="name it with --engine FOLDER",
        )
    told, problem = reading.json_of(path)
    if not problem and not isinstance(told, dict):
        problem = "is no object"
    problem = problem or misdescribed(told)
    if problem:
        raise _none(path, problem)
    return dict(told)


def misdescribed(told: Mapping[str, Any]) -> str:
    """Return why a config.json is not that of an engine, "" where it is."""
    lacking = [name for name, kind in _SECTIONS.items() if not isinstance(told.get(name), kind)]
    if lacking:
        return "lacks " + ", ".join(lacking)
    if not _VERSION.fullmatch(told["version"]):
        return f"says version {told['version']!r}, which no TensorRT-LLM has"
    return _misdivided(told["pretrained_config"].get("mapping"))


def _none(path: Path, problem: str) -> SourceError:
    return SourceError(
        f"{path} {problem}: it is not that of an engine",
        expected="what `trtllm-build` wrote; a checkpoint's folder must go through it first",
        remedy="copy the engine's whole folder again, or build it",
    )


def _misdivided(mapping: Any) -> str:
    """Return what of an engine's mapping cannot be, "" for nothing.

    TensorRT-LLM writes and requires world_size = tp_size x pp_size x cp_size (tensorrt_llm/mapping.py).
    """
    if not isinstance(mapping, dict):
        return f"says mapping {mapping!r}"
    told = [mapping.get(name, 1) for name in _DIVIDED]
    wrong = [
        f"{name} {one!r}" for name, one in zip(_DIVIDED, told, strict=True) if type(one) is not int or one < 1
    ]
    if wrong:
        return f"says {', '.join(wrong)} in mapping"
    ranks, tensor, pipeline, context = told
    if ranks != tensor * pipeline * context:
        return f"says world_size {ranks} in mapping, and {tensor} x {pipeline} x {context} ranks"
    return f"names {ranks} ranks, and a server has {MOST_RANKS} at most" if ranks > MOST_RANKS else ""


def _require_ranks(folder: Path, ranks: int) -> None:
    wanted = [f"rank{rank}.engine" for rank in range(ranks)]
    there = {path.name: path.stat().st_size for path in folder.glob("rank*.engine")}
    missing = [name for name in wanted if name not in there]
    empty = [name for name in wanted if there.get(name) == 0]
    other = sorted(set(there) - set(wanted))
    faults = [
        f"{len(names)} {what}: {', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''}"
        for names, what in ((missing, "missing"), (empty, "empty"), (other, "of another engine"))
        if names
    ]
    if faults:
        raise SourceError(
            f"{folder} was built for {ranks} rank{'s' * (ranks != 1)}; of its files {'; '.join(faults)}",
            expected=f"{wanted[0]}{f' to {wanted[-1]}' if ranks > 1 else ''}, and no other",
            remedy="copy the engine's whole folder into an empty one",
        )


def _compute(folder: Path) -> str:
    # beside the ranks, or in the version folder that they are a folder of
    told = engine_file.record(folder) or engine_file.record(folder.parent)
    return str(told.get("compute") or "")


def _drafting(told: Any) -> str:
    """Return SpeculativeDecodingMode's name, written as its bit (modeling_utils.py)."""
    if isinstance(told, str):
        name = told.rpartition(".")[2].lower()
        return name if name in _MODES else ""
    bits = [name for bit, name in enumerate(_MODES, 1) if type(told) is int and told == 1 << bit]
    return bits[0] if bits else ""


def _table(told: dict[str, Any], name: str) -> dict[str, Any]:
    value = told.get(name)
    return value if isinstance(value, dict) else {}


def _number(told: dict[str, Any], name: str) -> int:
    value = told.get(name)
    return value if type(value) is int and value > 0 else 0
