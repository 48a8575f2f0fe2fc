"""Plans of recipes, asked for as the command line does."""

from __future__ import annotations

import dataclasses
import shlex
from functools import cache, partial
from pathlib import Path

from builder import recipe
from builder.plan import Options, Plan, Subject, plan
from builder.planning import byte_sizes
from builder.subjects import read

DECODERS = [name for name in recipe.names() if recipe.load(name).pipeline == "text_generation"]
SINGLE_PASS = [name for name in recipe.names() if name not in DECODERS]
FIELDS = {
    "--tp": ("tensor_parallel", int),
    "--pp": ("pipeline_parallel", int),
    "--ep": ("expert_parallel", int),
    "--hosts": ("hosts", str),
    "--gpu": ("gpu", str),
    "--max-context": ("max_context", int),
    "--concurrency": ("concurrency", int),
    "--quantize": ("quantize", str),
    "--target": ("target", str),
    "--triton": ("triton", str),
    "--driver": ("driver", str),
    "--accelerate": ("accelerate", str),
    "--contract": ("contract", str),
    "--kv-cache": ("cache_type", str),
    "--calibration": ("calibration", str),
    "--calibration-samples": ("calibration_samples", int),
    "--calibration-length": ("calibration_length", int),
    "--workload": ("workload", str),
    "--speculate": ("speculate", int),
    "--ngram": ("ngram", str),
    "--draft": ("draft", str),
    "--fit": ("fit", partial(byte_sizes.read, "--fit")),
    "--sensitivities": ("sensitivities", str),
}
REPEATED = {"--set": "settings", "--lora": "adapters"}


@cache
def subject(name: str) -> Subject:
    return read(name, None, None)[0]


def options(line: str, before: Options | None = None) -> Options:
    """Read options as the command line does, the last of a kind wins."""
    words = shlex.split(line)
    pairs = list(zip(words[::2], words[1::2], strict=True))
    values = {FIELDS[flag][0]: FIELDS[flag][1](value) for flag, value in pairs if flag not in REPEATED}
    for flag, name in REPEATED.items():
        if given := tuple(value for one, value in pairs if one == flag):
            values[name] = given
    return dataclasses.replace(before or Options(), **values)


def planned(name: str, line: str = "") -> Plan:
    return plan(subject(name), options(line))


def planned_from(folder: Path, line: str = "") -> Plan:
    """Return the plan of a checkpoint of one's own."""
    asked = options(line)
    return plan(read("tiny", str(folder), None, asked.draft)[0], asked)
