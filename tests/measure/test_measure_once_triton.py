"""Measuring models that answer once on a real Triton: an ensemble, and one with every sort of input."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measured_repository
import pytest
from measure_command import ROOT, builder, command, measured
from processes import until

from builder.measuring import counters
from builder.server import Server

pytestmark = pytest.mark.triton

LATENCY = {"mean", "p50", "p90", "p95", "p99", "min", "max"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository of `lengths` and `record`."""
    found = tmp_path_factory.mktemp("once") / "repository"
    measured_repository.write(found)
    return found


@pytest.fixture(scope="module")
def once(boot: Callable[..., Server], folder: Path) -> Server:
    """A real Triton that serves it."""
    return boot(folder)


def at(server: Server, *more: str) -> list[str]:
    return [
        *("--url", f"http://{server.http}", "--grpc-url", server.grpc, "--metrics-url", server.metrics),
        *more,
    ]


def require_whole(run: dict[str, Any], requests: int) -> None:
    assert (run["requests"], run["errors"], run["error_messages"]) == (requests, 0, {})
    assert run["requests_per_second"] > 0
    assert run["latency_ms"].keys() == LATENCY
    assert not [name for name in run if "token" in name or name.startswith(("ttft", "itl"))]


@pytest.mark.slow
@pytest.mark.parametrize("door", ["grpc", "http"])
def test_an_ensemble_over_texts(once: Server, door: str) -> None:
    """Every text is marked, or its first step would have refused the second run."""
    load = ("--concurrency", "1,4", "--requests", "40", "--repeat", "2", "--door", door)
    found = measured("lengths", *at(once, *load))
    assert (found["name"], found["door"]) == ("lengths", door)
    assert found["settings"]["prompts"] == "shipped"
    assert found["settings"]["salt"]
    assert "output_tokens" not in found["settings"]
    for run in found["runs"]:
        require_whole(run, 40)
        assert run["mean_batch_size"].keys() == {"lengths", "lengths_words", "lengths_score"}
        assert run["memory"]["cpu_mb"]["processes"] >= 3
        # its steps wait 20 ms for company
        assert run["latency_ms"]["min"] >= 20
    alone, together = found["runs"][:2]
    assert alone["mean_batch_size"]["lengths_words"] == 1
    assert together["mean_batch_size"]["lengths_words"] > 1.5


def test_marks_can_be_left_out(once: Server) -> None:
    # the shipped texts are 32: of 40 requests some come twice
    words = at(once, "--concurrency", "1", "--requests", "40", "--no-marks", "--warm-up", "0", "--json")
    found = json.loads(builder("lengths", *words).stdout)
    assert found["settings"]["salt"] == ""
    [run] = found["runs"]
    assert run["errors"] >= 8
    assert all("seen before" in message for message in run["error_messages"])


@pytest.mark.parametrize("door", ["grpc", "http"])
def test_golden_answers_are_asked_of_the_published_model(once: Server, folder: Path, door: str) -> None:
    """It knows two records and refuses all else: every input arrived as it was written."""
    words = at(once, "--concurrency", "2", "--requests", "20", "--door", door)
    found = measured(str(folder), *words)
    assert found["name"] == "record"
    assert (found["settings"]["prompts"], found["settings"]["salt"]) == ("golden.json", "")
    [run] = found["runs"]
    require_whole(run, 20)
    assert run["mean_batch_size"] == {"record": 1}


def test_a_file_of_inputs(once: Server, tmp_path: Path) -> None:
    prompts = tmp_path / "records.jsonl"
    first, second = measured_repository.RECORDS
    spoilt = {**second, "matrix": [1, 3]}
    prompts.write_text("\n".join(map(json.dumps, (first, second, spoilt))))
    words = at(once, "--prompts", str(prompts), "--concurrency", "1", "--requests", "30", "--seed", "1")
    [run] = measured("record", *words)["runs"]
    assert (run["requests"], run["errors"]) == (30, 10)
    assert all("no such record" in message for message in run["error_messages"])
    spoilt["matrix"] = [1, 2, 3]
    prompts.write_text(json.dumps(spoilt))
    refused = builder("record", *words)
    assert refused.returncode == 2
    assert "line 1: matrix cannot be [1, 2, 3]: its shape is [2, -1]" in refused.stderr


def test_an_extra_input_is_in_every_request(once: Server, tmp_path: Path) -> None:
    prompts = tmp_path / "records.jsonl"
    first = dict(measured_repository.RECORDS[0])
    count = first.pop("count")
    prompts.write_text(json.dumps(first))
    words = at(once, "--prompts", str(prompts), "--concurrency", "1", "--requests", "4")
    [run] = measured("record", *words, "--extra", json.dumps({"count": count}))["runs"]
    require_whole(run, 4)
    unfit = builder("record", *words, "--extra", '{"count": [1, 2]}')
    assert unfit.returncode == 2
    assert "--extra: count cannot be [1, 2]: its shape is [1]" in unfit.stderr


@pytest.mark.slow
def test_a_run_takes_seconds_unless_it_is_told_otherwise(once: Server) -> None:
    found = measured("lengths", *at(once, "--concurrency", "2", "--rate", "3", "--requests", "6"))
    assert [run["requests"] for run in found["runs"]] == [6, 6]
    found = measured("lengths", *at(once, "--concurrency", "2"))
    assert found["settings"]["seconds"] == 5.0
    require_whole(found["runs"][0], found["runs"][0]["requests"])
    assert found["runs"][0]["seconds"] >= 5.0


def test_table_page_comparison_and_requirements(once: Server, tmp_path: Path) -> None:
    first, second, page = (tmp_path / name for name in ("a.json", "b.json", "page.html"))
    words = at(once, "--concurrency", "1,2", "--requests", "6")
    rules = ("--require", "error_rate==0,requests_per_second>0.1,latency_p99<60s,latency_p50_ms>=20")
    done = builder("lengths", *words, *rules, "--output", str(first), "--html", str(page))
    assert done.returncode == 0, done.stderr
    [heading] = [line for line in done.stdout.splitlines() if "requests/s" in line]
    assert heading.split() == ["load", "requests", "errors", "requests/s", "latency", "ms"]
    assert "times are p50 / p90 / p99" in done.stdout
    assert "mean batch size of the last run: lengths 1, lengths_score " in done.stdout
    drawn = page.read_text()
    for missing in ("tokens", "TTFT", "ITL", "Time to first"):
        assert missing not in done.stdout
        assert missing not in drawn
    assert drawn.count("<svg") == 3
    assert "requests/s" in drawn and "Latency: how many waited at most" in drawn
    assert builder("lengths", *words, "--output", str(second)).returncode == 0
    rows = json.loads(builder("--compare", str(first), str(second), "--json").stdout)
    figures = ["requests_per_second", "latency_p50", "latency_p90", "latency_p99", "cpu_pss"]
    assert [row["figure"] for row in rows] == figures * 2
    missed = builder("lengths", *words, "--require", "latency_p50<1ms")
    assert missed.returncode == 1
    assert "latency_p50<1ms" in missed.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("lengths", "--require", "ttft_p95<1s"), "does not stream text, its runs have no ttft_p95"),
        (("lengths", "--output-tokens", "5"), "does not stream text, it answers once"),
        ((), "a NAME out of lengths, record"),
        (("record",), '--prompts FILE with lines such as {"picture": "...", "names": ["...", ...]'),
        (("record", "--extra", '{"cuont": 1}'), "did you mean count"),
        (("elsewhere/repository",), "holds no model"),
        (("elsewhere", "lengths"), "holds no model"),
    ],
)
def test_misuse_is_explained(once: Server, words: tuple[str, ...], said: str) -> None:
    done = builder(*words, *at(once))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_folder_is_booted_and_not_named_twice(folder: Path) -> None:
    found = measured(str(folder), "--concurrency", "2", "--requests", "4")
    assert found["name"] == "record"
    require_whole(found["runs"][0], 4)
    twice = builder(str(folder), "--directory", str(folder))
    assert twice.returncode == 2
    assert "exclude each other" in twice.stderr


@pytest.mark.parametrize("door", ["grpc", "http"])
def test_a_server_that_dies_in_the_middle(boot: Callable[..., Server], folder: Path, door: str) -> None:
    server = boot(folder)
    more = ("--door", door, "--concurrency", "4", "--seconds", "600", "--json")
    process = subprocess.Popen(
        command("lengths", *at(server, *more)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: counters.batches(server.http)["lengths"][0] > 40)
    server.kill()
    shown, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "were answered" in said
    [run] = json.loads(shown)["runs"]
    assert 0 < run["errors"] < run["requests"]
    gone = builder("lengths", *at(server))
    assert gone.returncode == 1
    assert f"no Triton answers at http://{server.http}" in gone.stderr
