"""What is installed, what can run here, and the command that adds what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder import house
from builder.planning import placement, resolving
from builder.planning.resolving import Machine, Needs, Resolution


@dataclass(frozen=True)
class Diagnosis:
    """One row: `needed` rows decide the exit code, all others are choices."""

    what: str
    ready: bool
    detail: str
    remedy: str = ""
    needed: bool = False


def diagnose() -> list[Diagnosis]:
    """Return Python, targets, servers and hardware, in this order; nothing heavy is imported."""
    return [
        _python(),
        *(_target(name) for name in house.plugin_names("targets")),
        *(_server(name) for name in house.plugin_names("servers")),
        _gpu(),
        _cache(),
    ]


def _python() -> Diagnosis:
    version = ".".join(map(str, sys.version_info[:3]))
    numpy = importlib.metadata.version("numpy")
    return Diagnosis(
        "python", sys.version_info >= (3, 11), f"{version}, numpy {numpy}", "use Python 3.11 or newer", True
    )


def _target(name: str) -> Diagnosis:
    target = house.plugin("targets", name, option="--target")
    what = f"target {name}"
    missing = {
        module: requirement
        for module, requirement in target.REQUIREMENTS.items()
        if importlib.util.find_spec(module) is None
    }
    if missing:
        needed = " ".join(sorted({repr(requirement) for requirement in missing.values()}))
        return Diagnosis(what, False, f"missing {', '.join(missing)}", f"pip install {needed}")
    return Diagnosis(what, True, "everything it needs is installed")


def _server(name: str) -> Diagnosis:
    problem = house.plugin("servers", name, option="--using").available()
    return Diagnosis(f"server {name}", problem is None, problem or "can run here")


def _gpu() -> Diagnosis:
    if shutil.which("nvidia-smi") and Path("/dev/nvidiactl").exists():
        return Diagnosis("gpu", True, "an NVIDIA driver is loaded")
    return Diagnosis(
        "gpu", False, "no NVIDIA GPU: models run on the CPU; `plan --gpu NAME` works all the same"
    )


def _cache() -> Diagnosis:
    folder = house.cache_folder()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    return Diagnosis(
        "cache",
        free > 4 << 30,
        f"{folder}, {free >> 30} GiB free",
        "free some space, or point BUILDER_CACHE at another disk",
    )


@dataclass(frozen=True)
class Advice:
    """Which container would run a target on a machine: `resolution` is None for a target that any runs.

    `verdicts` say of each container why it cannot, "" where it can, the newest first; `tools` are programs
    of that container, with where they are on this machine, "" for nowhere.
    """

    target: Diagnosis
    machine: Machine
    resolution: Resolution | None
    verdicts: Mapping[str, str]
    tools: Mapping[str, str]


def advise(name: str, triton: str | None, gpu: str | None, driver: str | None) -> Advice:
    """Find the container for a target; without `gpu` and `driver`, for the GPU of this machine.

    Raises:
        UsageError: there is no such target or GPU, no container can, or `triton` cannot.
    """
    target = house.plugin("targets", name, option="--target")
    machine = Machine(placement.gpu(gpu) if gpu else None, driver or ("" if gpu else _driver()))
    needs: Needs | None = getattr(target, "NEEDS", None)
    if needs is None:
        return Advice(_target(name), machine, None, {}, {})
    found = resolving.resolve(needs, machine, triton, f"target {name}")
    tools = {tool: shutil.which(tool) or "" for tool in needs.tools}
    return Advice(_target(name), machine, found, resolving.verdicts(needs, machine), tools)


def _driver() -> str:
    """Return the version of the NVIDIA driver that is loaded, "" for none."""
    if not shutil.which("nvidia-smi"):
        return ""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else ""
