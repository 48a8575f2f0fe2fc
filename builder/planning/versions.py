"""Which server a plan is for, what that container holds, and what is too new for it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from builder.errors import UsageError

# What nvidia-pytriton 0.7.0 embeds: the default, because it needs no Docker.
DEFAULT_TAG = "24.10"
# Where every -py3 image has it, beside the TensorRT that its backend loads.
TRTEXEC = "/usr/src/tensorrt/bin/trtexec"

USUAL, VLLM, TENSORRT_LLM = "py3", "vllm-python-py3", "trtllm-python-py3"
"""The sorts of image, by the end of their tags."""

Version = tuple[int, ...]


@dataclass(frozen=True)
class Contents:
    """What one sort of image holds, "" for what is not in it, or not known; `size` in gigabytes."""

    onnxruntime: str = ""
    vllm: str = ""
    tensorrtllm: str = ""
    tensorrt: str = ""
    torch: str = ""
    cuda: str = ""
    driver: str = ""
    size: float = 0.0


@dataclass(frozen=True)
class Container:
    """One release of data/containers.toml; what is not known of it is empty.

    `images` are the sorts of image that there are, `absent` those that NVIDIA has not built.
    """

    tag: str
    triton: str
    python: str = ""
    absent: tuple[str, ...] = ()
    images: Mapping[str, Contents] = field(default_factory=dict, hash=False)

    @property
    def image(self) -> str:
        return self.sort(USUAL)

    @property
    def onnxruntime(self) -> str:
        return self.contents(USUAL).onnxruntime

    @property
    def vllm(self) -> str:
        return self.contents(VLLM).vllm

    @property
    def tensorrtllm(self) -> str:
        return self.contents(TENSORRT_LLM).tensorrtllm

    @property
    def tensorrt(self) -> str:
        """Return the TensorRT beside TensorRT-LLM; the usual image has one of its own."""
        return self.contents(TENSORRT_LLM).tensorrt

    @property
    def driver(self) -> str:
        """Return the driver that the image with TensorRT-LLM was made with."""
        return self.contents(TENSORRT_LLM).driver

    def contents(self, sort: str) -> Contents:
        """Return what a sort of image holds, nothing where there is none or nothing is known."""
        return self.images.get(sort, Contents())

    def sort(self, name: str) -> str:
        """Return the image of another sort, such as vllm-python-py3."""
        return f"nvcr.io/nvidia/tritonserver:{self.tag}-{name}"

    def to_json(self) -> dict[str, str]:
        """Return what plans and manifests say of it."""
        names = ("tag", "triton", "python", "onnxruntime", "vllm", "tensorrtllm", "tensorrt", "driver")
        return {name: getattr(self, name) for name in names}


@cache
def containers() -> dict[str, Container]:
    """Return the table of containers by tag, oldest first."""
    return {tag: _container(tag, row) for tag, row in sorted(_table("containers").items())}


def _container(tag: str, row: dict[str, Any]) -> Container:
    images = {name: Contents(**held) for name, held in row.items() if isinstance(held, dict)}
    return Container(tag, row["triton"], row.get("python", ""), tuple(row.get("absent", ())), images)


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent.parent / "data" / f"{name}.toml").read_text(encoding="utf-8"))


def number(version: str) -> Version:
    """Return a version's numbers: (0, 17, 0, 1) of 0.17.0.post1; () of none."""
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])))


def holding(library: str, least: Version, below: Version = ()) -> tuple[str, ...]:
    """Return the tags of containers that hold a library of `least` and `below` a version, oldest first."""
    found = {tag: number(getattr(box, library)) for tag, box in containers().items()}
    return tuple(tag for tag, version in found.items() if version and is_within(version, least, below))


def is_within(version: Version, least: Version, below: Version) -> bool:
    """Say whether a version is at least one and below another; () sets no limit."""
    return version[: len(least)] >= least and (not below or version[: len(below)] < below)


# The container that a plan for production names: the newest whose contents are known.
NEWEST_TAG = holding("onnxruntime", ())[-1]


def before(triton: str) -> Container:
    """Return the newest container whose contents are known and that is no newer than a release."""
    return [box for tag, box in containers().items() if tag <= triton and box.python][-1]


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


@dataclass(frozen=True)
class Cuda:
    """What a CUDA asks: the oldest `driver`, the `least` and `newest` compute capability."""

    driver: str
    least: str
    newest: str


@cache
def cuda(version: str) -> Cuda | None:
    """Return what a version of CUDA asks of a machine, None where that is not known."""
    rows = {number(name): row for name, row in _table("cuda").items()}
    fitting = [begins for begins in rows if number(version)[: len(begins)] == begins]
    if not fitting:
        return None
    row = rows[max(fitting, key=len)]
    return Cuda(row["driver"], *row["compute"])


@cache
def opset(library: str, version: str) -> tuple[int, int] | None:
    """Return the newest (opset, IR version) that onnxruntime or tensorrt of a version reads.

    An IR version of 0 sets no limit; None for a version that is not known.
    """
    rows = {number(name): row for name, row in _table("opsets")[library].items()}
    wanted = number(version)
    if not wanted or wanted < min(rows):
        return None
    row = next((row for begins, row in rows.items() if wanted[: len(begins)] <= begins), rows[max(rows)])
    return row["opset"], row.get("ir", 0)
