"""What a `--target` value states about itself; one file per value in `targets/`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from builder.adapter import Adapter
from builder.planning.memory import Memory
from builder.planning.placement import Split
from builder.speculation import Speculation
from builder.weight_format import Stored


@dataclass(frozen=True)
class Job:
    """One conversion.

    `checkpoint` is a Hugging Face folder, or the file that holds the model; `exporter` the file of
    `exporting/` that knows its family, "" where the target brings its own converter. `runtime` is the version
    of ONNX Runtime that will run it, "" for the one that is installed, `accelerators` what computes parts of
    the graph in its place; `image` are channels, height and width
    of what a model of images takes. `settings` are what the deployment's models will be told; `out` is the
    folder to fill, `main` the graph's first output. `split` is over which GPUs, for a converter that writes
    each its own part, `cache_type` what the KV cache is kept in and `calibration` the file of texts that
    scales are measured with, for one that measures any; "" for what is usual. `calibration_samples` are how
    many of them, `calibration_length` how many tokens of each, 0 for all and for what is usual. `stored` says
    that the weights are quantised already. `part` is a folder on the disk of `out` that outlives what is
    killed, for a converter that goes on where it was; it says `GOING_ON` then. `types` are those of matrices
    by the artifact's names, none where `quantization` says it of all.
    """

    checkpoint: Path
    exporter: str
    pipeline: str
    main: str
    quantization: str
    arguments: tuple[str, ...]
    device: str
    accelerators: tuple[str, ...]
    runtime: str
    image: tuple[int, int, int]
    settings: Mapping[str, Any]
    out: Path
    split: Split = field(default_factory=Split)
    cache_type: str = ""
    calibration: str = ""
    calibration_samples: int = 0
    calibration_length: int = 0
    stored: bool = False
    part: Path | None = None
    types: Mapping[str, str] = field(default_factory=dict)


GOING_ON = re.compile(r"^going on at \d+ %$", re.MULTILINE)
"""What a converter prints that does not begin at the beginning."""


@dataclass(frozen=True)
class Placed:
    """A model where it will run: what its engine is told follows from this.

    `precision` is what is computed in, a value of --quantize; `concurrency` counts requests that run at once;
    `cache_type` is what the KV cache is kept in, "" for the precision; `speculation` what is guessed ahead;
    `stored` what the checkpoint says of weights that are quantised already, None for plain ones. `half` is
    what numbers beside quantised weights have, bf16 or fp16; `config` is Hugging Face's, `name`
    what the model is called.
    """

    device: str
    dimensions: Any
    precision: str
    memory: Memory
    concurrency: int
    split: Split
    cache_type: str = ""
    speculation: Speculation | None = None
    adapters: tuple[Adapter, ...] = ()
    stored: Stored | None = None
    half: str = "bf16"
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    name: str = ""


@dataclass(frozen=True)
class Compilation:
    """What turns the proven artifact into an engine, on the GPU and in the image that will run it.

    `tool` is a program of the `image` of Triton's release `triton`; `arguments` name files of the working
    folder, which holds `source`; `written` is then there, a file or a folder, and becomes `result` once it
    is whole. `timings` is what the next build of the same folder is faster by. `profile` are the least, the
    usual and the largest shape of each input of a graph that may vary, None where the source is no graph.
    `compute` is the capability of the GPU, such as "9.0": an engine of another does not load. Where the
    `libraries` (distribution -> version) are installed, no container is needed; `environment` is what the
    tool is told in one. The engine has `ranks` parts, one for each GPU, as many on each of the `hosts`.
    """

    tool: str
    arguments: tuple[str, ...]
    image: str
    triton: str
    compute: str
    source: str
    written: str
    result: str
    timings: str
    profile: Mapping[str, Mapping[str, tuple[int, ...]]] | None
    libraries: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    ranks: int = 1
    hosts: int = 1


class Target(Protocol):
    """A way to run a model: what it can do, and how a checkpoint becomes its artifact.

    A target whose artifact is compiled once more, on the GPU, has also
    `compilation(graph: Member, decided: Decision, precision: str, card: Gpu, container: Container)`, which
    returns its Compilation, or raises UsageError. One that asks something of the container that runs it has
    `NEEDS: planning.resolving.Needs`: the newest that has it is planned for. One whose KV cache may be kept
    in another data type has `CACHE_TYPES: Mapping[str, str]`, value of --kv-cache -> the library's own name.
    One that guesses tokens ahead has `SPECULATION: tuple[str, ...]`, its settings that --speculate and
    --draft decide. One that serves LoRA adapters says so by `ADAPTERS = True`; where its engine does not
    read PEFT's folders, `adapter_bytes(adapters, dimensions, split)` returns what they take of each GPU and
    `write_adapter(plan, artifact, adapter, folder)` writes one. One that runs mixtures of experts says
    `EXPERTS = True`, one that keeps a tied head beside its embedding `SHARES_TIED = False`. One
    whose converter shares out experts by --ep has `EXPERT_GROUPS = True`, another one that runs mixtures
    `EXPERT_SETTING: str`, what --set takes instead, with `{groups}` for their number. One whose GPUs may be
    on several hosts has `SPANS_HOSTS = True`.
    One whose engine is a model of Triton's own has
    `members(decided: Decision, container: Container) -> tuple[Member, ...]`: they come before the front, and
    the first that is not of Python gets the artifact; `front_arguments(told, container)` returns what the
    front is told of the engine's arguments, and `engine_files(told, config, tokenizer, settings)` the JSON
    files of that model's version folder, name -> content. One whose converter writes a part for each GPU has
    `converter(quantization: str) -> str`, its file of `exporting/`: what it writes depends on --tp, --pp,
    --ep and that file too. It raises UsageError for a quantization that none converts to. One that does not
    run every model of a family has `require_config(config: Mapping)`, of Hugging Face's config, which raises
    a BuilderError that names the targets that do; one whose converter does not take every tensor has
    `require_tensors(checkpoint: Checkpoint)`, which raises by their headers what the converter would. One
    that knows what its engine takes on a CPU besides weights and cache has
    `runtime_bytes(dimensions: Dimensions, context: int, concurrency: int) -> int`. One
    whose engine cannot be told everything of every model has
    `require_arguments(placed: Placed, told: Mapping)`, which raises UsageError for what was set.
    """

    TITLE: str
    PIPELINES: tuple[str, ...]
    """The files of `ensembles/` that it serves."""
    ENGINES: Mapping[str, tuple[str, ...]]
    """Device (cpu, gpu) -> the files of `backends/engine/` that its front can host there, the usual first;
    of a target that Triton itself runs, the name of the backend."""
    ACCELERATORS: Mapping[str, tuple[str, ...]]
    """Device -> the values of `--accelerate`."""
    WITNESS: str
    """The file of `proving/` that runs the artifact by its own library, nothing of ours between."""
    STRINGS: bool
    """Whether a graph may give names of labels; where not, a step of its own does."""
    SPANS_GPUS: bool
    PAGED_CACHE: bool
    """Whether a sequence takes KV cache as it grows, instead of all that it may need."""
    SETTABLE: Mapping[str, str]
    """What `--set engine.NAME=VALUE` may change -> int, float, bool, string or json."""
    TOOLS: tuple[str, ...]
    """The distributions that decide an artifact's bytes besides the checkpoint."""
    REQUIREMENTS: Mapping[str, str]
    """Importable module -> the pip requirement that brings it, for building and serving."""

    def engine_arguments(self, placed: Placed) -> dict[str, Any]:
        """Return what the engine is told: in settings.json, or as parameters of config.pbtxt."""
        ...

    def convert(self, job: Job) -> list[str]:
        """Return the command that fills `job.out` with the artifact."""
        ...

    def progress(self, log: str, dimensions: Any) -> float:
        """Read from the converter's log which share is done, 0 to 1."""
        ...
