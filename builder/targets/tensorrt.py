"""Models that answer in one pass, as an engine that TensorRT builds of the proven graph.

The graph is the one of target `onnxruntime`, but for names of labels: TensorRT has no strings. `trtexec`
builds the engine on the GPU that it is for, inside the image that will serve it, because an engine loads
only in the version of TensorRT that built it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from builder.ensemble import Member, Tensor
from builder.errors import UsageError
from builder.planning.asked import Decision
from builder.planning.memory import USABLE
from builder.planning.placement import Gpu
from builder.planning.resolving import Needs
from builder.planning.versions import TRTEXEC, Container
from builder.target import Compilation, Job, Placed
from builder.targets import onnxruntime

TITLE = "TensorRT engine by Triton's tensorrt backend"
# not reranking: its graph has not been tried
PIPELINES = ("embedding", "classification", "token_classification", "image_classification", "tensors")
ENGINES = {"gpu": ("tensorrt",)}
ACCELERATORS: dict[str, tuple[str, ...]] = {}
WITNESS = "onnxruntime"
STRINGS = False
SPANS_GPUS = False
PAGED_CACHE = False
SETTABLE: dict[str, str] = {}
TOOLS = onnxruntime.TOOLS
REQUIREMENTS = onnxruntime.REQUIREMENTS
NEEDS = Needs(graph="tensorrt", tools=(TRTEXEC,), instead="--target onnxruntime")

SOURCE, WRITTEN, RESULT = "model.onnx", "model.plan.part", "model.plan"
TIMINGS = "timing.cache"

USUAL_SHARE = 4
"""The engine is tuned for a quarter of the largest batch: what waits is taken at once, so few are full."""

_TYPES = frozenset(("BOOL", "UINT8", "INT8", "INT32", "INT64", "FP16", "BF16", "FP32"))
_SPOILING = ",'*"
"""What trtexec reads in the name of an input: the next one, a quotation mark, any letters."""

Shapes = dict[str, tuple[int, ...]]


def engine_arguments(placed: Placed) -> dict[str, Any]:
    """Return the backend's parameters, none."""
    return {}


def convert(job: Job) -> list[str]:
    """Return the exporter's command; the engine is built after the proof."""
    return onnxruntime.exporter(job, strings=STRINGS, fused=False)


progress = onnxruntime.progress


def compilation(
    graph: Member, decided: Decision, precision: str, card: Gpu, container: Container
) -> Compilation:
    """Return how the graph becomes an engine; raise UsageError where it has no largest shape, or odd types.

    The graph says in which precision each number is computed, as it was proven: `--stronglyTyped` keeps to
    it, and is the only way from TensorRT 11 on.
    """
    for tensor in (*graph.inputs, *graph.outputs):
        _require_known(tensor)
    profile = dict(_profile(graph, decided.memory.context))
    left = int(card.memory * USABLE) - decided.memory.used
    return Compilation(
        tool=TRTEXEC,
        arguments=(
            f"--onnx={SOURCE}",
            f"--saveEngine={WRITTEN}",
            *_shape_arguments(profile),
            "--stronglyTyped",
            # float32 is asked for where numbers count, and TF32 has 10 bits of them
            *(["--noTF32"] if precision == "fp32" else []),
            f"--memPoolSize=workspace:{max(1, left >> 20)}M",
            f"--timingCacheFile={TIMINGS}",
            "--skipInference",
        ),
        image=container.image,
        triton=container.tag,
        compute=card.compute,
        source=SOURCE,
        written=WRITTEN,
        result=RESULT,
        timings=TIMINGS,
        profile=profile,
    )


def _shape_arguments(profile: Mapping[str, Shapes]) -> Iterator[str]:
    """Yield --minShapes=name:1x3x224x224,..., and so on; nothing where no input varies."""
    for bound in ("min", "opt", "max"):
        shapes = [f"{name}:{'x'.join(map(str, shape[bound]))}" for name, shape in profile.items()]
        if shapes:
            yield f"--{bound}Shapes={','.join(shapes)}"


def _profile(graph: Member, tokens: int) -> Iterator[tuple[str, Shapes]]:
    """Yield each input whose shape varies, with its least, usual and largest; `tokens` are a text's most."""
    rows = graph.max_batch_size
    usual_rows, usual_tokens = max(1, rows // USUAL_SHARE), max(1, tokens // USUAL_SHARE)
    for tensor in graph.inputs:
        head, tail = (tensor.dims[:1], tensor.dims[1:]) if tensor.ragged else ((), tensor.dims)
        if -1 in tail:
            raise UsageError(
                f"input {tensor.name} is {list(tensor.dims)}: it may be of any size",
                expected="inputs of known sizes but for the batch: an engine is built for a largest shape",
                remedy="export the graph with that dimension fixed, or use --target onnxruntime",
            )
        if head:
            yield tensor.name, _shapes(tail, usual_rows * usual_tokens, rows * tokens)
        elif rows:
            yield tensor.name, _shapes(tail, usual_rows, rows)
        if tensor.longest_as:
            # a request of several rows tells its longest in equal parts, each rounded up
            yield tensor.longest_as, _shapes((), usual_tokens, tokens + rows - 1)


def _shapes(tail: tuple[int, ...], usual: int, most: int) -> Shapes:
    return {"min": (1, *tail), "opt": (usual, *tail), "max": (most, *tail)}


def _require_known(tensor: Tensor) -> None:
    if tensor.data_type not in _TYPES:
        raise UsageError(
            f"{tensor.name} is {tensor.data_type}, which TensorRT has no tensors of",
            expected=f"{', '.join(sorted(_TYPES))}",
            remedy="use --target onnxruntime",
        )
    if any(letter in tensor.name for letter in _SPOILING):
        raise UsageError(
            f"trtexec cannot be told of {tensor.name!r}",
            expected="a name without comma, quotation mark and asterisk",
            remedy="rename it in the graph, or use --target onnxruntime",
        )
