"""How a job's checkpoint becomes ranks: plain ones, rounded ones, or as it is quantised already."""

from __future__ import annotations

from pathlib import Path

from builder import source
from builder.exporting import tensorrt_llm, tensorrt_llm_quantised
from builder.inflight_batcher import numbers
from builder.ranks.convert import DTYPES, Ranks
from builder.ranks.division import Division
from builder.ranks.quantised import Quantised
from builder.target import Job


def command(job: Job, out: Path) -> list[str]:
    """Return the command that writes the ranks of a job into a folder, `out`."""
    split = job.split
    division, shared = Division(split.tensor, split.pipeline, split.experts, split.hosts), split.tensor > 1
    # each rank has its part of the embedding as well, which is what the plan counts
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
    return [
        *tensorrt_llm_quantised.command(
            job.checkpoint, out, asked, Path(job.calibration) if job.calibration else None
        ),
        *(("--samples", str(job.calibration_samples)) if job.calibration_samples else ()),
        *(("--length", str(job.calibration_length)) if job.calibration_length else ()),
    ]


def _half(checkpoint: Path) -> str:
    """Return the 16 bits that what is not quantised has: the source's own, bfloat16 for wider ones."""
    kinds = {tensor.dtype for tensor in source.open_checkpoint(checkpoint).tensors.values()}
    return "" if kinds <= {"BF16", "F16"} else "bf16"
