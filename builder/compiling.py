"""Engine: the proven artifact as TensorRT built it, where this machine can; else the script that does.

An engine loads only on a GPU of the capability and in the TensorRT that built it: it is built on that GPU,
inside the image that will serve it.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from builder import artifact_key, capabilities, child, engine_file, files, house, onnx_graph
from builder.convert import Artifact
from builder.errors import ConversionError, RepositoryError
from builder.plan import Plan
from builder.planning import versions
from builder.target import Compilation

Progress = Callable[[str, float], None]

FOLDER = "/engine"
"""Where a container finds the graph, and writes the engine."""

_RELEASE = "NVIDIA_TRITON_SERVER_VERSION"
"""The variable in which NVIDIA's images say their release, such as 26.08."""


@dataclass(frozen=True)
class Machine:
    """What decides whether an engine can be built here.

    `compute` are the capabilities of its GPUs, `release` that of the image that this runs in, "" for none;
    `tool` is where the program lies here, "" for nowhere, `libraries` what is installed of those it must
    have, `docker` says why no container can be run.
    """

    compute: tuple[str, ...]
    release: str
    tool: str
    docker: str | None
    libraries: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def here(cls, compilation: Compilation) -> Machine:
        """Return this machine."""
        found = shutil.which(Path(compilation.tool).name) or shutil.which(compilation.tool) or ""
        installed = artifact_key.tools(compilation.libraries)
        return cls(capabilities.here(), os.environ.get(_RELEASE, ""), found, _docker(), installed)


def obstacle(compilation: Compilation, machine: Machine) -> str:
    """Say why the engine cannot be built on a machine, "" where it can."""
    if compilation.compute not in machine.compute:
        there = (
            f"GPUs of compute capability {', '.join(machine.compute)}" if machine.compute else "no NVIDIA GPU"
        )
        return f"this machine has {there}, the engine is for {compilation.compute}"
    if _is_inside(compilation, machine):
        return ""
    return "" if machine.docker is None else f"this is not {compilation.image}, and {machine.docker}"


def command(compilation: Compilation, machine: Machine, folder: Path) -> list[str]:
    """Return what builds the engine in a folder that holds its source; it runs there."""
    if _is_inside(compilation, machine):
        return [machine.tool, *compilation.arguments]
    return in_container(compilation, str(folder), f"{os.getuid()}:{os.getgid()}")


def in_container(compilation: Compilation, folder: str, user: str, gpus: str = "all") -> list[str]:
    """Return the same as a container of the image, for any machine with Docker and the GPU."""
    return [
        *("docker", "run", "--rm", "--gpus", gpus, "--user", user),
        *("--volume", f"{folder}:{FOLDER}", "--workdir", FOLDER),
        *(word for name, value in compilation.environment.items() for word in ("--env", f"{name}={value}")),
        *("--entrypoint", compilation.tool, compilation.image, *compilation.arguments),
    ]


def shell(compilation: Compilation) -> str:
    """Return in_container for a shell in the folder of the source, with its options on lines of their own."""
    words = in_container(compilation, "$PWD", "$(id -u):$(id -g)", "${GPUS:-all}")
    # those three are for the shell to read
    written = [f'"{word}"' if "$" in word else shlex.quote(word) for word in words]
    return " ".join(f"\\\n  {word}" if word.startswith("--") else word for word in written)


def script(compilation: Compilation) -> str:
    """Return a shell script that builds the engine of the folder in which it lies."""
    return f"""#!/bin/sh
# Builds {compilation.result} of this folder with TensorRT: for GPUs of compute capability
# {compilation.compute}. It needs one, Docker and NVIDIA's container toolkit. GPUS=device=1 takes one alone.
set -eu
cd "$(dirname "$0")"
{shell(compilation)}
{finished(compilation)}
"""


def finished(compilation: Compilation) -> str:
    """Return what a shell does once the engine is whole: it takes its place, also that of an older one."""
    written, result = shlex.quote(compilation.written), shlex.quote(compilation.result)
    return f"rm -rf {result}\nmv {written} {result}"


def record(compilation: Compilation, digest: str) -> dict[str, Any]:
    """Return what stands in engine.json; `digest` is that of `source_digest`, in hexadecimal."""
    told = asdict(compilation)
    if compilation.hosts == 1:
        del told["hosts"]
    return {"format": 1, "sha256": digest, **told}


def recorded(folder: Path) -> Compilation | None:
    """Return what engine.json of a version folder says, None where there is none.

    Raises RepositoryError where it is not as a build writes it.
    """
    told = engine_file.record(folder)
    if not told:
        return None
    known = {one.name for one in fields(Compilation)}
    try:
        found = Compilation(**{name: value for name, value in told.items() if name in known})
        words = [*found.arguments, found.tool, found.image, found.compute]
        words += [found.source, found.written, found.result]
        pairs = [*found.environment.items(), *found.libraries.items()]
        if not all(isinstance(word, str) for word in (*words, *(word for pair in pairs for word in pair))):
            raise TypeError("a word of its command is none")
        for name, count in (("ranks", found.ranks), ("hosts", found.hosts)):
            if type(count) is not int or count < 1:
                raise TypeError(f"{name} is {count!r}")
    except (TypeError, AttributeError) as error:
        raise RepositoryError(
            f"{folder / engine_file.RECORD} is not as a build writes it: {error}",
            expected="what `builder build` wrote beside the engine's source",
            remedy="build the model again",
        ) from error
    return replace(found, arguments=tuple(found.arguments))


def source_digest(compilation: Compilation, digests: Mapping[str, str]) -> str:
    """Return the sha256 of what the engine is built of: of a folder that of its files' names and digests.

    Args:
        digests: those of the artifact's files, model/NAME -> sha256.
    """
    name = f"model/{compilation.source}"
    if name in digests:
        return digests[name]
    held = {file: digest for file, digest in digests.items() if file.startswith(f"{name}/")}
    return artifact_key.key(held)


def require_profile(compilation: Compilation, graph: Path) -> None:
    """Raise ConversionError unless the shapes are those that the graph's inputs leave open, and no others."""
    if compilation.profile is None:
        return
    inputs = {tensor.name: tensor.dims or () for tensor in onnx_graph.read(graph).inputs}
    wrong = [
        name
        for name in sorted({*compilation.profile, *inputs})
        if not _fits(inputs.get(name), compilation.profile.get(name))
    ]
    if wrong:
        told = "; ".join(f"{name} {list(inputs.get(name, ()))}" for name in wrong)
        raise ConversionError(
            f"Bug: the shapes planned for the engine are not those of the graph's inputs: {told}",
            remedy="report this build, or use --target onnxruntime",
        )


def _fits(dims: tuple[int, ...] | None, bounds: Mapping[str, tuple[int, ...]] | None) -> bool:
    if dims is None:
        return False
    if bounds is None:
        return -1 not in dims
    return -1 in dims and all(
        len(shape) == len(dims) and all(size in (-1, at) for size, at in zip(dims, shape, strict=True))
        for shape in bounds.values()
    )


def compiled(plan: Plan, artifact: Artifact, progress: Progress) -> Path | None:
    """Build the engine, or find it in the cache; None where there is none to build or it cannot be here.

    Raises:
        ConversionError: the tool failed, or wrote nothing.
    """
    compilation = plan.compilation
    if compilation is None:
        return None
    require_profile(compilation, artifact.model / compilation.source)
    digest = source_digest(compilation, artifact.digests)
    home = house.cache_folder() / "engines" / artifact_key.key(record(compilation, digest))
    if not (home / compilation.result).exists():
        machine = Machine.here(compilation)
        if obstacle(compilation, machine):
            return None
        with files.translated(ConversionError, "writing the engine"):
            _build(compilation, artifact, home, machine, progress)
    return home / compilation.result


def _build(
    compilation: Compilation, artifact: Artifact, home: Path, machine: Machine, progress: Progress
) -> None:
    doing = f"building an engine for compute capability {compilation.compute}"
    progress(doing, 0.0)
    timings = home.parent / f"timings-{compilation.triton}-{compilation.compute}"
    log = house.cache_folder() / "logs" / f"engine-{home.name[:16]}.log"
    with files.staged(home) as stage:
        for file in artifact.model.iterdir():
            files.place(file, stage / file.name)
        if timings.is_file():
            shutil.copyfile(timings, stage / compilation.timings)
        child.run(command(compilation, machine, stage), log, ConversionError, folder=stage)
        written = stage / compilation.written
        if not _is_whole(written):
            raise ConversionError(
                f"{Path(compilation.tool).name} ended well and wrote no {compilation.written}",
                remedy=f"read its log at {log}",
            )
        if (stage / compilation.timings).is_file():
            (stage / compilation.timings).replace(timings)
        for file in list(stage.iterdir()):
            if file.is_dir() and file != written:
                shutil.rmtree(file)
            elif file != written:
                file.unlink()
        written.rename(stage / compilation.result)
    progress(doing, 1.0)


def _is_whole(written: Path) -> bool:
    return any(written.iterdir()) if written.is_dir() else written.is_file()


def _is_inside(compilation: Compilation, machine: Machine) -> bool:
    """Say whether the tool runs here as it would in the image: this is it, or has the same libraries."""
    same = bool(compilation.libraries) and all(
        versions.number(machine.libraries.get(name, "")) == versions.number(wanted)
        for name, wanted in compilation.libraries.items()
    )
    return bool(machine.tool) and (same or machine.release == compilation.triton)


def _docker() -> str | None:
    problem: str | None = house.plugin("servers", "docker", option="server").available()
    return problem
