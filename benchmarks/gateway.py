"""What `builder gateway` costs, before a model that answers at once, beside others that do the same.

    python benchmarks/gateway.py [--quick] [--repeats 7] [--soak-seconds 300] [--doors gateway relay litellm]

One stream at a time is compared with the same chat asked of Triton directly; at 64 and 512 streams the tokens
that a core carries are compared with those of a relay as tutorials have it, and of LiteLLM. All of 512
streams must be answered, and the memory of the gateway must stay flat.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

import numpy as np
import uvloop
from doors import asking, running, told
from doors.asking import Heard
from doors.directly import Triton
from doors.running import Door
from workbench import bars, children, deployment, environment, numbers, record

INSTANT = Path(__file__).resolve().parent / "instant"
DOORS = ("gateway", "relay", "litellm")
MANY = (64, 512)
TOKENS_ALONE, TOKENS_OF_A_SOAK = 32, 64


def main() -> int:
    arguments = _arguments()
    children.end_like_a_person()
    with deployment.serve(INSTANT) as served, ExitStack() as stack:
        starts = {
            "gateway": lambda: running.gateway(served.grpc),
            "relay": lambda: running.relay(served.grpc),
            "litellm": lambda: running.litellm(served.http),
        }
        doors = {name: stack.enter_context(starts[name]()) for name in arguments.doors}
        rows = uvloop.run(_measure(served.grpc, doors, arguments))
    figures = told.figures(rows)
    record.write("gateway", figures, rows, arguments, versions=_versions(arguments.doors))
    told.show(rows)
    record.print_figures(figures)
    return bars.tell(told.BARS, figures)


async def _measure(
    grpc: str, doors: Mapping[str, Door], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    for door in doors.values():
        await asking.many(door.port, 8, 64)
    rows = await _alone(grpc, doors, arguments.alone)
    for streams in MANY:
        for repeat in range(arguments.repeats):
            turns = list(doors.values())
            for door in turns if repeat % 2 == 0 else reversed(turns):
                rows.append(await _rate(door, streams, repeat, arguments.tokens))
    rows.append(await _soak(doors["gateway"], arguments.soak_seconds))
    return rows


async def _alone(grpc: str, doors: Mapping[str, Door], count: int) -> list[dict[str, Any]]:
    """Ask for one answer at a time: of Triton and of each door in turn."""
    triton, rows = Triton(grpc), []
    try:
        for repeat in range(count):
            heard = {"triton": Heard()} | {name: Heard() for name in doors}
            await triton.one(TOKENS_ALONE, heard["triton"])
            for name, door in doors.items():
                await asking.one(door.port, TOKENS_ALONE, heard[name])
            for name, one in heard.items():
                if one.errors:
                    raise SystemExit(f"the {name} did not answer: {dict(one.errors)}")
                rows.append({"part": "alone", "door": name, "repeat": repeat, **_milliseconds(one)})
    finally:
        await triton.close()
    return rows


async def _rate(door: Door, streams: int, repeat: int, tokens: int) -> dict[str, Any]:
    before, begun = door.processor_seconds(), time.perf_counter()
    heard = await asking.many(door.port, streams, tokens * 64 // streams)
    seconds, taken = time.perf_counter() - begun, door.processor_seconds() - before
    return {
        "part": f"{streams} streams",
        "door": door.name,
        "repeat": repeat,
        "errors": dict(heard.errors),
        "tokens_per_second": heard.tokens / seconds,
        "tokens_per_core_second": heard.tokens / taken,
        **_milliseconds(heard),
    }


def _milliseconds(heard: Heard) -> dict[str, float]:
    """Return the median and the 99th percentile of the times to a first word, and between words."""
    found = {}
    for name, seconds in (("first_ms", heard.firsts), ("between_ms", heard.betweens)):
        if seconds:
            found[name] = median(seconds) * 1000
            found[f"{name}_p99"] = float(np.percentile(seconds, 99)) * 1000
    return found


async def _soak(door: Door, seconds: float) -> dict[str, Any]:
    """Answer for so long, and note the memory all the while."""
    begun, times, held, errors = time.monotonic(), [], [], 0
    while (now := time.monotonic() - begun) < seconds:
        heard = await asking.many(door.port, MANY[0], TOKENS_OF_A_SOAK)
        errors += heard.errors.total()
        times.append(now)
        held.append(door.megabytes())
    growth = numbers.growth(times, held)["by_slope"]
    return {"part": "soak", "door": door.name, "errors": errors, "growth_mb": growth, "megabytes": held}


def _versions(doors: list[str]) -> dict[str, str]:
    packages = ("uvicorn", "uvloop", "httptools", "fastapi", "orjson", "h2", "grpcio", "tritonclient")
    found = record.versions(packages)
    if "litellm" in doors:
        found |= environment.versions(running.litellm_python(), ["litellm"])
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a rough answer in a minute or two")
    parser.add_argument("--repeats", type=record.positive, help="of 64 and of 512 streams; default 7")
    parser.add_argument("--soak-seconds", type=record.positive, help="default 300")
    parser.add_argument("--doors", nargs="+", choices=DOORS, default=DOORS, help="default all of them")
    parser.add_argument("--output", type=Path, help=record.WHERE)
    found = parser.parse_args()
    if not {"gateway", "relay"} <= {*found.doors}:
        parser.error("--doors lacks the gateway or the relay, which the bars are about")
    found.repeats = found.repeats or (3 if found.quick else 7)
    found.soak_seconds = found.soak_seconds or (10 if found.quick else 300)
    found.alone, found.tokens = (60, 64) if found.quick else (300, 256)
    return found


if __name__ == "__main__":
    sys.exit(main())
