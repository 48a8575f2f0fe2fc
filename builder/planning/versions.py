"""Which server a plan is for, what that container holds, and what is too new for it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from builder.errors import UsageError

# What nvidia-pytriton 0.7.0 embeds: the default, because it needs no Docker.
DEFAULT_TAG = "24.10"
# The container that a plan for production names: the newest that holds every engine.
NEWEST_TAG = "26.08"
# Where every -py3 image has it, beside the TensorRT that its backend loads.
TRTEXEC = "/usr/src/tensorrt/bin/trtexec"


@dataclass(frozen=True)
class Container:
    """One row of data/containers.toml; an empty string is a thing that container does not hold."""

    tag: str
    triton: str
    python: str
    onnxruntime: str = ""
    vllm: str = ""
    tensorrtllm: str = ""
    tensorrt: str = ""
    driver: str = ""

    @property
    def image(self) -> str:
        return self.sort("py3")

    def sort(self, name: str) -> str:
        """Return the image of another sort, such as vllm-python-py3."""
        return f"nvcr.io/nvidia/tritonserver:{self.tag}-{name}"


@cache
def containers() -> dict[str, Container]:
    """Return the table of containers by tag, oldest first."""
    text = (Path(__file__).parent.parent / "data" / "containers.toml").read_text(encoding="utf-8")
    return {tag: Container(tag, **row) for tag, row in sorted(tomllib.loads(text).items())}


def holding(library: str, least: tuple[int, ...], below: tuple[int, ...] = ()) -> tuple[str, ...]:
    """Return the tags of containers that hold a library of `least` and `below` a version, oldest first."""
    read = {tag: re.findall(r"\d+", getattr(box, library)) for tag, box in containers().items()}
    found = {tag: tuple(map(int, parts)) for tag, parts in read.items() if parts}
    return tuple(
        tag
        for tag, version in found.items()
        if version[: len(least)] >= least and (not below or version[: len(below)] < below)
    )


def before(triton: str) -> Container:
    """Return the newest container of the table that is no newer than a release, such as 26.05."""
    return [box for tag, box in containers().items() if tag <= triton][-1]


def python_of(triton: str) -> tuple[int, int]:
    """Return the version of Python that a release runs Python models with."""
    major, minor = before(triton).python.split(".")
    return int(major), int(minor)


def container(tag: str) -> Container:
    """Return one container; raise UsageError naming those in the table."""
    table = containers()
    if tag not in table:
        raise UsageError(f"--triton {tag!r} is not in the table", expected=f"one of {', '.join(table)}")
    return table[tag]
