"""What `builder gateway` costs, before a model that answers at once, beside a relay as tutorials have it.

    python benchmarks/gateway.py [--quick] [--repeats 7] [--soak-seconds 300]

The first token through the gateway is compared with the same chat asked of Triton directly, the tokens that a
core carries with those of the relay; 512 streams at once must all be answered, and memory must stay flat.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

import uvloop
from doors import asking, running
from doors.directly import Triton
from doors.running import Door
from rich.console import Console
from rich.table import Table
from workbench import bars, children, deployment, numbers, record
from workbench.bars import Bar

INSTANT = Path(__file__).resolve().parent / "instant"
STREAMS, MANY = 64, 512
TOKENS_OF_A_FIRST, TOKENS_OF_MANY, TOKENS_OF_A_SOAK = 4, 32, 64

BARS = (
    Bar("ttft_added_ms_s1", "<=", 5),
    Bar("tokens_per_core_over_relay_s64", ">=", 2),
    Bar("errors_s512", "==", 0),
    Bar("errors_soak", "==", 0),
    # over the second half; allocators move by as much
    Bar("memory_growth_mb_soak", "<=", 4),
)


def main() -> int:
    arguments = _arguments()
    children.end_like_a_person()
    with (
        deployment.serve(INSTANT) as served,
        running.gateway(served.grpc) as ours,
        running.relay(served.grpc) as relay,
    ):
        rows = uvloop.run(_measure(served.grpc, ours, relay, arguments))
    figures = _figures(rows)
    packages = ("uvicorn", "uvloop", "httptools", "fastapi", "orjson", "h2", "grpcio", "tritonclient")
    record.write("gateway", figures, rows, arguments, versions=record.versions(packages))
    _show(rows)
    record.print_figures(figures)
    return bars.tell(BARS, figures)


async def _measure(grpc: str, ours: Door, relay: Door, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    for door in (ours, relay):
        await asking.many(door.port, 8, 64)
    rows = await _firsts(grpc, ours, relay, arguments.firsts)
    for repeat in range(arguments.repeats):
        for door in (ours, relay) if repeat % 2 == 0 else (relay, ours):
            rows.append(await _rate(door, repeat, arguments.tokens))
    rows.append(await _crowd(ours))
    rows.append(await _soak(ours, arguments.soak_seconds))
    return rows


async def _firsts(grpc: str, ours: Door, relay: Door, count: int) -> list[dict[str, Any]]:
    """Time first tokens one at a time: of Triton, of the gateway and of the relay in turn."""
    triton, rows = Triton(grpc), []
    try:
        for repeat in range(count):
            rows.append(_first("triton", repeat, await triton.first(TOKENS_OF_A_FIRST)))
            for door in (ours, relay):
                heard = await asking.many(door.port, 1, TOKENS_OF_A_FIRST)
                if heard.errors:
                    raise SystemExit(f"the {door.name} did not answer: {dict(heard.errors)}")
                rows.append(_first(door.name, repeat, heard.firsts[0]))
    finally:
        await triton.close()
    return rows


def _first(name: str, repeat: int, seconds: float) -> dict[str, Any]:
    return {"part": "first", "door": name, "repeat": repeat, "ms": seconds * 1000}


async def _rate(door: Door, repeat: int, tokens: int) -> dict[str, Any]:
    before, begun = door.processor_seconds(), time.perf_counter()
    heard = await asking.many(door.port, STREAMS, tokens)
    seconds = time.perf_counter() - begun
    if heard.errors:
        raise SystemExit(f"the {door.name} did not answer {STREAMS} streams: {dict(heard.errors)}")
    return {
        "part": "rate",
        "door": door.name,
        "repeat": repeat,
        "tokens_per_second": heard.tokens / seconds,
        "tokens_per_core_second": heard.tokens / (door.processor_seconds() - before),
    }


async def _crowd(door: Door) -> dict[str, Any]:
    heard = await asking.many(door.port, MANY, TOKENS_OF_MANY)
    firsts_ms = median(heard.firsts) * 1000 if heard.firsts else None
    return {"part": "crowd", "door": door.name, "errors": dict(heard.errors), "first_ms": firsts_ms}


async def _soak(door: Door, seconds: float) -> dict[str, Any]:
    """Answer for so long, and note the memory all the while."""
    begun, times, held, errors = time.monotonic(), [], [], 0
    while (now := time.monotonic() - begun) < seconds:
        heard = await asking.many(door.port, STREAMS, TOKENS_OF_A_SOAK)
        errors += heard.errors.total()
        times.append(now)
        held.append(door.megabytes())
    growth = numbers.growth(times, held)["by_slope"]
    return {"part": "soak", "door": door.name, "errors": errors, "growth_mb": growth, "megabytes": held}


def _figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    firsts = {name: _by_repeat(rows, "first", name, "ms") for name in ("triton", "gateway", "relay")}
    rates = {name: _by_repeat(rows, "rate", name, "tokens_per_core_second") for name in ("gateway", "relay")}
    crowd = next(row for row in rows if row["part"] == "crowd")
    soak = next(row for row in rows if row["part"] == "soak")
    return {
        "ttft_added_ms_s1": numbers.paired_difference(firsts["gateway"], firsts["triton"]),
        "ttft_added_ms_s1_relay": numbers.paired_difference(firsts["relay"], firsts["triton"]),
        "tokens_per_core_s64": median(rates["gateway"].values()),
        "tokens_per_core_over_relay_s64": numbers.paired_ratio(rates["gateway"], rates["relay"]),
        "errors_s512": sum(crowd["errors"].values()),
        "errors_soak": soak["errors"],
        "memory_growth_mb_soak": soak["growth_mb"],
    }


def _by_repeat(rows: list[dict[str, Any]], part: str, name: str, value: str) -> dict[int, float]:
    return {row["repeat"]: row[value] for row in rows if row["part"] == part and row["door"] == name}


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table(title=f"{STREAMS} streams, medians")
    for column in ("door", "tokens/s", "tokens/s of one core", "first token at 1 stream, ms"):
        table.add_column(column, justify="left" if column == "door" else "right")
    for name in ("triton", "gateway", "relay"):
        first = median(_by_repeat(rows, "first", name, "ms").values())
        rate = _by_repeat(rows, "rate", name, "tokens_per_second")
        core = _by_repeat(rows, "rate", name, "tokens_per_core_second")
        cells = [f"{median(found.values()):,.0f}" if found else "" for found in (rate, core)]
        table.add_row(name, *cells, f"{first:.2f}")
    Console(width=110).print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a rough answer in under a minute")
    parser.add_argument("--repeats", type=record.positive, help="of the 64 streams; default 7")
    parser.add_argument("--soak-seconds", type=record.positive, help="default 300")
    parser.add_argument("--output", type=Path, help=record.WHERE)
    found = parser.parse_args()
    found.repeats = found.repeats or (3 if found.quick else 7)
    found.soak_seconds = found.soak_seconds or (10 if found.quick else 300)
    found.firsts, found.tokens = (60, 64) if found.quick else (300, 256)
    return found


if __name__ == "__main__":
    sys.exit(main())
