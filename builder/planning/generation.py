"""The plan of a model that generates: weights, KV cache and the engine that fills it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial

from builder import adapter, house
from builder.architecture import Dimensions
from builder.errors import PlanError, UsageError
from builder.planning import adapters, engine_options, hosts, memory, mixing, placement, profile
from builder.planning.asked import Decision, Options, Question, Subject
from builder.planning.memory import Memory
from builder.planning.mixture import Mixture
from builder.planning.placement import Gpu, Split
from builder.quantization import Quantization

CPU_CONCURRENCY = 16
MOST_AT_ONCE = 256
TYPICAL_TOKENS = 512
"""Of a question and its answer. Where sequences take cache as they grow, so many more run at once than would
fit at full length; when all of them grow long, the engine puts some off."""

CPU_QUANTIZATION = "int4"
GPU_TARGET = "vllm"


def precision(subject: Subject, card: Gpu | None) -> str:
    """Return what the recipe or the CPU wants; on a GPU what the checkpoint is stored in, at most 16 bits."""
    if card is None:
        return subject.quantize or CPU_QUANTIZATION
    # no target offers float32 on a GPU
    half = "bf16" if card.bfloat16 else "fp16"
    return half if subject.precision in ("fp32", "bf16") else subject.precision


def usual_target(subject: Subject, quantize: str, card: Gpu | None, split: Split) -> str:
    """Return what serves most tokens on GPUs where it takes the precision.

    Else it is the recipe's, or where that knows nothing of the precision the first that does.
    """
    able = subject.stored.kernels if subject.stored else _quantization(quantize).targets
    if split.gpus > 1 or (card is not None and GPU_TARGET in _on_gpu(subject, quantize)):
        return GPU_TARGET
    return subject.target if subject.target in able else next(iter(able), subject.target)


def _on_gpu(subject: Subject, quantize: str) -> Collection[str]:
    if subject.stored is not None:
        return subject.stored.kernels
    return [name for name, support in _quantization(quantize).targets.items() if "gpu" in support.devices]


def _quantization(name: str) -> Quantization:
    found: Quantization = house.plugin("quantizations", name, option="--quantize").QUANTIZATION
    return found


def decide(question: Question) -> Decision:
    """Fill the device with KV cache, and choose the engine that was measured fastest at that load."""
    dimensions = _dimensions(question.subject)
    options = question.options
    context = _context(dimensions, options.max_context)
    if options.concurrency is not None and options.concurrency < 1:
        raise UsageError(f"--concurrency {options.concurrency}", expected="at least 1")
    found = adapter.read(options.adapters, question.subject.model_type, dimensions)
    taken = getattr(question.way, "adapter_bytes", adapters.bytes_on_gpu)
    mixture = _mixture(question, dimensions, context)
    if mixture is not None:
        question = replace(question, quantization=replace(question.quantization, weight_bytes=mixture.size))
    filled = _place(question, dimensions, context, partial(taken, found, dimensions))
    concurrency = options.concurrency or _at_once(question, filled)
    engine = profile.choose(question.way.ENGINES[question.device], concurrency, _measured(options))
    return Decision(
        memory=filled,
        concurrency=concurrency,
        engine=engine.engine,
        engine_why=engine.why,
        engine_arguments=engine_options.of(question, filled, concurrency, found),
        adapters=found,
        split=question.split,
        mixture=mixture,
    )


def _mixture(question: Question, dimensions: Dimensions, context: int) -> Mixture | None:
    if question.options.fit is None:
        return None
    rest = _on_cpu(question, dimensions, 0, context)
    return mixing.mix(question, dimensions, rest)


def _on_cpu(question: Question, dimensions: Dimensions, weights: int, context: int) -> Memory:
    """Return what the host needs; of a target that knows it, what the engine itself takes too."""
    concurrency = question.options.concurrency or CPU_CONCURRENCY
    per_token = memory.cache_bytes_per_token(dimensions, question.quantization.cache_bytes)
    own = getattr(question.way, "runtime_bytes", None)
    runtime = own(dimensions, context, concurrency) if own else 0
    return memory.on_cpu(weights, per_token, context, concurrency, runtime)


def _at_once(question: Question, filled: Memory) -> int:
    if question.card is None:
        return CPU_CONCURRENCY
    short = filled.tokens // TYPICAL_TOKENS if question.way.PAGED_CACHE else 0
    return max(1, min(max(filled.sequences, short), MOST_AT_ONCE))


def _dimensions(subject: Subject) -> Dimensions:
    if not isinstance(subject.dimensions, Dimensions):
        raise UsageError(
            f"{subject.name} is a {subject.model_type}, which does not generate text",
            remedy="choose another pipeline",
        )
    return subject.dimensions


def _measured(options: Options) -> list[profile.Row]:
    """Return the user's own rows, and the shipped ones of engines that they did not measure."""
    own = [row for option in options.profiles for row in profile.read(option)]
    replaced = {row.engine for row in own}
    return [*own, *(row for row in profile.shipped() if row.engine not in replaced)]


def _context(dimensions: Dimensions, asked: int | None) -> int:
    if asked is None:
        return dimensions.context_length
    if not 1 <= asked <= dimensions.context_length:
        raise UsageError(
            f"--max-context {asked}",
            expected=f"1 to {dimensions.context_length} tokens, what the model was trained for",
        )
    return asked


def _place(question: Question, dimensions: Dimensions, context: int, room: placement.Room) -> Memory:
    subject, options, split = question.subject, question.options, question.split
    quantization, card = question.quantization, question.card
    if card is None:
        if split.gpus > 1:
            raise UsageError(
                f"--tp {split.tensor} --pp {split.pipeline} without --gpu", remedy="name the GPU with --gpu"
            )
        weights = memory.weight_bytes(dimensions, quantization)
        return _on_cpu(question, dimensions, weights, context)
    # without --target, --tp 2 chooses one that spans GPUs
    free = options.target is None and GPU_TARGET in quantization.targets
    most = placement.MOST_GPUS if question.way.SPANS_GPUS or free else 1
    wanted = options.concurrency or 1
    beside = question.beside
    choices = placement.alternatives(
        dimensions, quantization, split, card, context, wanted, most, beside, room
    )
    remedy = "use " + ", or ".join(f"`{choice}`" for choice in choices) if choices else _no_choice(subject)
    obstacle = placement.obstacle(dimensions, split)
    if obstacle:
        raise PlanError(f"{subject.name}: {obstacle}", remedy=remedy)
    if split.gpus_per_host > most:
        raise PlanError(
            f"{subject.name}: target {question.target} runs on {most} GPU{'s' * (most > 1)} of one host, "
            f"--tp {split.tensor} --pp {split.pipeline} asks for {split.gpus}",
            remedy=remedy + _more_hosts(question),
        )
    filled = placement.fill(dimensions, quantization, split, card, context, options.concurrency, beside, room)
    if filled.sequences < wanted:
        raise PlanError(_shortage(question, card, filled, wanted), remedy=remedy)
    return filled


def _more_hosts(question: Question) -> str:
    if not getattr(question.way, "SPANS_HOSTS", False):
        return ""
    return f"; or `--hosts {hosts.fewest(question.split.gpus)}`, which several servers share"


def _no_choice(subject: Subject) -> str:
    return (
        f"no GPU in the table holds {subject.name} so; "
        "try --quantize with fewer bits or a shorter --max-context"
    )


def _shortage(question: Question, card: Gpu, filled: Memory, wanted: int) -> str:
    gib = memory.GIB
    need = filled.weights + filled.runtime + wanted * filled.context * filled.cache_per_token
    return (
        f"{question.subject.name} does not fit {question.split.gpus} x {card.title}: each has "
        f"{card.memory / gib:.1f} GiB, of which {float(memory.USABLE):.0%} may be used; weights take "
        f"{filled.weights / gib:.1f} GiB, the runtime {filled.runtime / gib:.1f} GiB, and {wanted} x "
        f"{filled.context} tokens of KV cache "
        f"{wanted * filled.context * filled.cache_per_token / gib:.1f} GiB: {need / gib:.1f} GiB in all"
    )
