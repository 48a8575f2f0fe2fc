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
from builder.inflight_batcher import adapters, build_command, engine, numbers, tables, tokenizer_info, windows
from builder.inflight_batcher import engine_arguments as arguments
from builder.inflight_batcher.engine import Settings
from builder.planning.asked import Decision
from builder.planning.placement import Gpu
from builder.planning.resolving import Needs
from builder.planning.versions import TENSORRT_LLM, Container
from builder.source import Checkpoint
from builder.target import Compilation, Job

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


engine_arguments = arguments.of
require_arguments = arguments.require
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
    """Return what guided decoding reads; raise UsageError where layers see other tokens than it is told.

    Args:
        told: the engine's arguments.
        config: Hugging Face's.
        tokenizer: the folder of the model's own.
        settings: of the deployment, with its `end_ids`.
    """
    windows.require(config, told)
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
    # numpy is not for those who only plan
    from builder.inflight_batcher import conversion

    return conversion.command(job, job.out / SOURCE)


def progress(log: str, dimensions: Dimensions) -> float:
    """Return the share done, as the converter prints it."""
    from builder.exporting import tensorrt_llm

    return min(0.99, tensorrt_llm.share(log))
