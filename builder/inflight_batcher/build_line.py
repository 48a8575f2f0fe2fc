"""The `builder build` that makes an imported repository anew, as large as its engine was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from builder import house
from builder.errors import UsageError
from builder.inflight_batcher.imported import Imported
from builder.planning import placement, versions

ENGINES = "tensorrtllm"
CONTRACT = "nvidia"
"""What engines are built with: the models, tensors and names of the templates."""

CHECKPOINT, GPU = "CHECKPOINT", "GPU"
"""Stand in the command for what nobody told; `builder build` refuses either by its name."""

QUANTIZATIONS = {
    "FP8": "fp8",
    "W4A16_AWQ": "awq",
    "W4A8_AWQ": "w4a8_awq",
    "W8A8_SQ_PER_CHANNEL": "smoothquant",
    "W8A16": "w8a16",
    "W4A16": "w4a16",
}
"""An engine's quant_algo -> --quantize."""

_MEASURED = frozenset(QUANTIZATIONS.values()) - {"w8a16", "w4a16"}
"""Those that measure scales, which a cache of 8 bits has too."""

_OLDEST = "8.0"
"""The first compute capability that TensorRT-LLM and its peers run on."""


def words(imported: Imported, target: str, name: str, checkpoint: str | None) -> tuple[str, ...]:
    """Return the command but what is set of the engine; raise UsageError for a name that it would refuse."""
    from builder import plan

    plan.require_name(name)
    if name.endswith(".toml"):
        raise UsageError(
            f"--name {name}: `builder build {name}` would read that file",
            expected="a name without .toml",
        )
    return (
        *("builder", "build", name, "--checkpoint", checkpoint or CHECKPOINT, "--target", target),
        *_contract(target),
        *("--gpu", _gpu(imported)),
        *_sizes(imported, target),
        *_precision(imported, target),
    )


def unknown(imported: Imported, checkpoint: str | None) -> Mapping[str, str]:
    """Return what stands for what nobody told in the command, and what is to be written there."""
    told = {} if checkpoint else {CHECKPOINT: "what the engine was made of: a folder or ORG/NAME"}
    if _gpu(imported) != GPU:
        return told
    return {**told, GPU: f"what it is to run on, one of {', '.join(_cards(imported))}"}


def _gpu(imported: Imported) -> str:
    """Return the GPU that was named, or the only one that the engine can have been built for."""
    if imported.card is not None:
        return imported.card.name
    able = _cards(imported)
    return able[0] if len(able) == 1 else GPU


def _cards(imported: Imported) -> list[str]:
    compute = imported.engine.compute if imported.engine else ""
    return [
        card.name
        for card in placement.gpus().values()
        if (card.compute == compute if compute else not _is_older(card.compute))
    ]


def _is_older(compute: str) -> bool:
    return versions.number(compute) < versions.number(_OLDEST)


def _contract(target: str) -> tuple[str, ...]:
    # the server that verifies a build runs no engines
    return ("--contract", CONTRACT, "--no-verify") if target == ENGINES else ()


def _sizes(imported: Imported, target: str) -> Iterator[str]:
    """Yield the options that say how large it is, as the engine was built."""
    engine = imported.engine
    if engine is None:
        return
    yield from ("--tp", str(engine.tensor_parallel))
    if engine.pipeline_parallel > 1:
        yield from ("--pp", str(engine.pipeline_parallel))
    if engine.expert_parallel > 1:
        yield from _groups(engine.expert_parallel, target)
    if engine.hosts > 1 and target == ENGINES:
        yield from ("--hosts", str(engine.hosts))
    if engine.max_seq_len:
        yield from ("--max-context", str(engine.max_seq_len))
    if engine.max_batch_size:
        yield from ("--concurrency", str(engine.max_batch_size))


def _groups(experts: int, target: str) -> tuple[str, ...]:
    """Return how a target is told of groups of GPUs that share out experts."""
    if target == ENGINES:
        return ("--ep", str(experts))
    way = house.plugin("targets", target, option="--target")
    return (f"--set={way.EXPERT_SETTING.format(groups=experts)}",)


def _precision(imported: Imported, target: str) -> Iterator[str]:
    """Yield what it is kept in: a new engine is quantised as the old one was."""
    engine = imported.engine
    if engine is None:
        return
    quantization = QUANTIZATIONS.get(engine.quantization, "") if target == ENGINES else ""
    if quantization:
        yield from ("--quantize", quantization)
    if engine.cache == "FP8" and (target != ENGINES or quantization in _MEASURED):
        yield from ("--kv-cache", "fp8")
