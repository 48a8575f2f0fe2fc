"""The benchmark of the gateway: its figures, and a short run of all its parts."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("fastapi", "uvicorn", "uvloop", "httptools", "h2", "orjson")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def test_figures_are_of_runs_side_by_side() -> None:
    from doors import told

    def alone(door: str, repeat: int, ms: float) -> dict[str, object]:
        return {"part": "alone", "door": door, "repeat": repeat, "first_ms": ms, "between_ms": ms / 10}

    def rate(door: str, repeat: int, tokens: float, streams: int = 64, errors: int = 0) -> dict[str, object]:
        told = {"part": f"{streams} streams", "door": door, "repeat": repeat}
        return told | {"tokens_per_core_second": tokens, "errors": {"TimeoutError": errors} if errors else {}}

    rows = [
        *(alone("triton", place, ms) for place, ms in enumerate((1.0, 5.0, 2.0))),
        *(alone("gateway", place, ms) for place, ms in enumerate((2.0, 6.5, 9.0))),
        *(alone("relay", place, ms) for place, ms in enumerate((3.0, 8.0, 4.0))),
        *(rate("gateway", place, tokens) for place, tokens in enumerate((300.0, 400.0, 90.0))),
        *(rate("relay", place, tokens) for place, tokens in enumerate((100.0, 100.0, 45.0))),
        *(rate("gateway", place, 200.0, 512, errors=place) for place in range(3)),
        *(rate("relay", place, 50.0, 512, errors=1) for place in range(3)),
        {"part": "soak", "door": "gateway", "errors": 4, "growth_mb": 0.5},
    ]
    assert told.figures(rows) == pytest.approx(
        {
            "ttft_added_ms_s1": 1.5,
            "itl_added_ms_s1": 0.15,
            "ttft_added_ms_s1_relay": 2.0,
            "itl_added_ms_s1_relay": 0.2,
            "tokens_per_core_s64": 300.0,
            "tokens_per_core_over_relay_s64": 3.0,
            "errors_s64": 0,
            "tokens_per_core_s512": 200.0,
            "tokens_per_core_over_relay_s512": 4.0,
            "errors_s512": 3,
            "errors_soak": 4,
            "memory_growth_mb_soak": 0.5,
        }
    )


@pytest.mark.slow
@pytest.mark.triton
def test_every_stream_of_a_short_run_is_answered(tmp_path: Path) -> None:
    output = tmp_path / "gateway.json"
    doors = ["--doors", "gateway", "relay"]
    options = ["--quick", "--repeats", "1", "--soak-seconds", "2", *doors, "--output", str(output)]
    command = [sys.executable, str(ROOT / "benchmarks" / "gateway.py"), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert output.is_file(), done.stderr
    record = json.loads(output.read_text())
    assert record["figures"]["errors_s512"] == record["figures"]["errors_soak"] == 0
    assert {row["part"] for row in record["rows"]} == {"alone", "64 streams", "512 streams", "soak"}


def test_an_answer_that_is_not_whole_is_an_error() -> None:
    import asyncio

    from doors import asking

    async def count(body: bytes) -> int:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"}]")
            writer.write(body)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            heard = await asking.many(server.sockets[0].getsockname()[1], 1, 2)
        assert heard.tokens == (0 if heard.errors else 2)
        return heard.errors.total()

    words = b'data: {"content":" tok"}\n\n' * 2
    head, end = b"HTTP/1.1 200 OK\r\n\r\n", b"data: [DONE]\n\n"
    assert asyncio.run(count(head + words + end)) == 0
    for body in (head + words, head + end, b"HTTP/1.1 429 No\r\n\r\n" + words + end, b""):
        assert asyncio.run(count(body)) == 1
