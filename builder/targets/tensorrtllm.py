"""Decoders as engines of TensorRT-LLM, up to 1.2.1: NVIDIA has removed that way from what came after.

The checkpoint becomes one file for each GPU, on a CPU. `trtllm-build` makes the engine of them after the
proof, on the GPUs that it is for, inside the image that will serve it; Triton's tensorrtllm backend runs that
as a model of its own, NAME_engine, which the front asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from builder.adapter import Adapter
from builder.architecture import Dimensions
from builder.ensemble import HOME, Member
from builder.errors import UsageError
from builder.inflight_batcher import adapters, build_command, engine, numbers, tables, tokenizer_info
from builder.inflight_batcher.engine import Settings
from builder.planning.asked import Decision
from builder.planning.memory import USABLE
from builder.planning.placement import Gpu
from builder.planning.resolving import Needs
from builder.planning.versions import TENSORRT_LLM, Container
from builder.source import Checkpoint
from builder.target import Compilation, Job, Placed

if TYPE_CHECKING:
    from builder.convert import Artifact
    from builder.plan import Plan

TITLE = "TensorRT-LLM engines by Triton's tensorrtllm backend"
PIPELINES = ("text_generation",)
ENGINES = {"gpu": ("tensorrt_llm_executor",)}
ACCELERATORS: dict[str, tuple[str, ...]] = {}
WITNESS = "tensorrt_llm_ranks"
STRINGS = True
SPANS_GPUS = True
SPANS_HOSTS = True
EXPERTS = EXPERT_GROUPS = True
ADAPTERS = True
SHARES_TIED = False
PAGED_CACHE = True
SETTABLE = build_command.settable()
TOOLS = ("transformers", "torch", "tokenizers")
REQUIREMENTS = {"transformers": "builder[convert]", "torch": "builder[convert]"}
NEEDS = Needs(
    sort=TENSORRT_LLM,
    library="tensorrtllm",
    least=(1, 0),
    below=(1, 2, 2),
    tools=(build_command.TOOL,),
    # TensorRT-LLM's support matrix; FP8 is computed from Ada on
    compute="8.0",
    formats={"fp8": "8.9", "w4a8_awq": "8.9"},
    instead="--target llmapi",
)

SOURCE, WRITTEN, RESULT = "checkpoint", "engine.part", "engine"
TIMINGS = "timing.cache"

MOST_TOKENS_A_STEP = 8192
"""Of prompts and answers together: longer prompts are read in several steps."""

CACHE_TYPES = {"fp8": "fp8"}
"""Its scales are measured while weights are quantised; `fp8` has it in any case."""


def require_config(config: Mapping[str, Any]) -> None:
    """Raise ConversionError or SourceError for a model that engines do not compute as it was trained."""
    from builder.ranks import family, rotary

    name = str(config["model_type"])
    way, sizes = family.load(name), family.decoder(name).dimensions(config)
    way.settings(config, sizes)
    rotary.scaling(config, sizes.context_length)


def require_tensors(checkpoint: Checkpoint) -> None:
    """Raise SourceError for tensors that the converter refuses, by their headers."""
    from builder.ranks import headers

    headers.require(checkpoint)


def engine_arguments(placed: Placed) -> dict[str, Any]:
    """Return flags of trtllm-build and parameters of the backend by their names, and the `vocabulary`.

    The cache is planned in tokens; of that and a share of what is free the smaller counts.

    Raises UsageError or PlanError for numbers that engines do not keep so.
    """
    numbers.require(placed)
    sizes: Dimensions = placed.dimensions
    every = placed.concurrency * placed.memory.context
    return {
        "vocabulary": sizes.vocabulary_size,
        "guided": True,
        "max_batch_size": placed.concurrency,
        "max_input_len": placed.memory.context,
        "max_seq_len": placed.memory.context,
        "max_num_tokens": min(max(MOST_TOKENS_A_STEP, placed.concurrency), every),
        "max_beam_width": 1,
        "kv_cache_type": "paged",
        **_kernels(placed),
        "use_paged_context_fmha": "enable",
        # it is built on one of them
        "workers": placed.split.gpus_per_host,
        "max_tokens_in_paged_kv_cache": placed.memory.tokens,
        "kv_cache_free_gpu_mem_fraction": float(USABLE),
        "enable_kv_cache_reuse": True,
        "enable_chunked_context": True,
        "batch_scheduler_policy": "guaranteed_no_evict",
        **_window(sizes, placed.memory.context),
        **adapters.engine_arguments(placed),
    }


adapter_bytes = adapters.bytes_on_gpu


def write_adapter(plan: Plan, artifact: Artifact, adapter: Adapter, folder: Path) -> None:
    """Write an adapter's tensors, as the engine of these ranks takes them.

    Raises SourceError for numbers that it has not, or where its ranks are of other 16 bits than was planned.
    """
    from builder import source
    from builder.inflight_batcher import adapter_tensors

    planned, sizes = plan.engine_arguments["lora_data_type"], cast(Dimensions, plan.dimensions)
    adapter_tensors.require_kind(source.read_json(artifact.model / SOURCE / "config.json"), planned)
    adapter_tensors.write(adapter, sizes, plan.split.tensor, planned, folder)


def _kernels(placed: Placed) -> dict[str, Any]:
    """Return who multiplies matrices, and whether attention over a prompt is computed in FP8.

    cuBLASLt is faster in 16 bits, TensorRT's own kernels are in FP8 (NVIDIA's guide to build flags), where
    attention is too.
    """
    eight_bits = numbers.method(placed) == "fp8"
    # such an attention reads and writes a cache of FP8, which checkpoints of others may not have
    cache = placed.stored is None or placed.cache_type == "fp8"
    return {
        "gemm_plugin": "disable" if eight_bits else "auto",
        "use_fp8_context_fmha": "enable" if eight_bits and cache else "disable",
    }


def _window(sizes: Dimensions, context: int) -> dict[str, Any]:
    """Return the window of all layers, as Mistral's; `engine_files` sees whether that is all."""
    window = sizes.sliding_window
    return {} if window is None or window >= context else {"max_attention_window_size": [window]}


def members(decided: Decision, container: Container) -> tuple[Member, ...]:
    """Return the model that is the engine."""
    told = decided.engine_arguments
    parameters = {name: told[name] for name in tables.parameters() if name in told}
    settings = Settings(
        max_batch_size=told["max_batch_size"],
        version=container.tensorrtllm,
        parameters={**parameters, "gpt_model_path": f"{HOME}/{RESULT}"},
        types=tables.Types(adapters=told.get("lora_data_type", "FP16")),
        guided=told["guided"],
        ranks=decided.split.gpus,
    )
    return (engine.member(settings),)


def front_arguments(told: Mapping[str, Any], container: Container) -> dict[str, Any]:
    """Return what the front must know of the engine that it asks."""
    return {
        "version": container.tensorrtllm,
        "vocabulary": told["vocabulary"],
        "context_logits": bool(told.get("gather_context_logits")),
        "guided": told["guided"],
    }


def engine_files(
    told: Mapping[str, Any], config: Mapping[str, Any], tokenizer: Path, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what guided decoding reads; raise UsageError where layers see less than the backend is told.

    Args:
        told: the engine's arguments.
        config: Hugging Face's.
        tokenizer: the folder of the model's own.
        settings: of the deployment, with its `end_ids`.
    """
    from builder.ranks import family

    windows, planned = list(family.windows(config)), list(told.get("max_attention_window_size", ()))
    if min(windows, default=told["max_seq_len"]) < told["max_seq_len"] and not planned == windows:
        raise UsageError(
            f"layers of the checkpoint see {sorted(set(windows))} tokens back, the engine is told {planned}",
            expected="one number for all layers, or one for each",
            remedy=f"pass '--set=engine.max_attention_window_size={windows}'",
        )
    if not told["guided"]:
        return {}
    return {engine.TOKENIZER_INFO: tokenizer_info.read(tokenizer, settings["end_ids"])}


def compilation(
    graph: Member, decided: Decision, precision: str, card: Gpu, container: Container
) -> Compilation:
    """Return how the ranks become an engine; raise UsageError for flags that do not go together."""
    told = decided.engine_arguments
    return Compilation(
        tool=build_command.TOOL,
        arguments=(
            *("--checkpoint_dir", SOURCE, "--output_dir", WRITTEN),
            *build_command.flags(told),
            *("--input_timing_cache", TIMINGS, "--output_timing_cache", TIMINGS),
        ),
        image=container.sort(TENSORRT_LLM),
        triton=container.tag,
        compute=card.compute,
        source=SOURCE,
        written=WRITTEN,
        result=RESULT,
        timings=TIMINGS,
        profile=None,
        libraries={"tensorrt_llm": container.tensorrtllm, "tensorrt": container.tensorrt},
        # whoever runs it has no home there
        environment={"HOME": "/tmp"},
        ranks=decided.split.gpus,
        hosts=decided.split.hosts,
    )


def converter(quantization: str) -> str:
    """Return the file of exporting/ that converts."""
    return "tensorrt_llm_quantised" if numbers.is_rounded(quantization) else "tensorrt_llm"


def convert(job: Job) -> list[str]:
    """Return the command that writes the ranks; the engine is built after the proof."""
    from builder.exporting import tensorrt_llm, tensorrt_llm_quantised
    from builder.ranks.convert import DTYPES, Ranks
    from builder.ranks.division import Division
    from builder.ranks.quantised import Quantised

    split = job.split
    division, shared = Division(split.tensor, split.pipeline, split.experts, split.hosts), split.tensor > 1
    # each rank has its part of the embedding as well, which is what the plan counts
    out = job.out / SOURCE
    if job.stored:
        return tensorrt_llm_quantised.command(job.checkpoint, out, Quantised(Ranks(division, "", shared), ""))
    if not numbers.is_rounded(job.quantization):
        dtype = job.quantization if job.quantization in DTYPES else _half(job.checkpoint)
        asked_plain = Ranks(division, dtype, shared, *job.arguments)
        return tensorrt_llm.command(job.checkpoint, out, asked_plain, job.part)
    asked = Quantised(
        Ranks(division, _half(job.checkpoint), shared),
        job.quantization,
        "fp8" in (job.quantization, job.cache_type),
    )
    texts = Path(job.calibration) if job.calibration else None
    return tensorrt_llm_quantised.command(job.checkpoint, out, asked, texts)


def _half(checkpoint: Path) -> str:
    """Return the 16 bits that what is not quantised has: the source's own, bfloat16 for wider ones."""
    from builder import source

    kinds = {tensor.dtype for tensor in source.open_checkpoint(checkpoint).tensors.values()}
    return "" if kinds <= {"BF16", "F16"} else "bf16"


def progress(log: str, dimensions: Dimensions) -> float:
    """Return the share done, as the converter prints it."""
    from builder.exporting import tensorrt_llm

    return min(0.99, tensorrt_llm.share(log))
