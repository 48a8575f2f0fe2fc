"""`builder measure` as users run it, against endpoints that behave and that do not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from fake_openai import FakeOpenAi
from measure_command import ROOT, builder, command, measured
from processes import alive, children, until

Start = Callable[..., FakeOpenAi]

RUN_FIELDS = {
    "load",
    "repeat",
    "seconds",
    "requests",
    "errors",
    "error_rate",
    "error_messages",
    "requests_per_second",
    "tokens_per_second",
    "ttft_ms",
    "itl_ms",
    "latency_ms",
    "input_tokens",
    "output_tokens",
    "mean_batch_size",
    "memory",
}


def openai(endpoint: FakeOpenAi, *words: str) -> list[str]:
    return ["--openai", endpoint.url, "--model", "m", *words]


def test_the_json_is_the_contract(fake: Start) -> None:
    endpoint = fake(words=5)
    found = measured(
        *openai(endpoint, "--concurrency", "1,3", "--rate", "50", "--requests", "6", "--repeat", "2")
    )
    assert found["schema"] == "builder.measurement/1"
    assert (found["name"], found["door"]) == ("m", "openai")
    assert found["url"] == f"{endpoint.url}/v1/chat/completions"
    assert found["settings"]["output_tokens"] == 128
    assert found["machine"]["cores"] >= 1
    assert [(run["load"], run["repeat"]) for run in found["runs"]] == [
        (load, repeat)
        for repeat in range(2)
        for load in (
            {"kind": "closed", "concurrency": 1},
            {"kind": "closed", "concurrency": 3},
            {"kind": "open", "rate": 50.0},
        )
    ]
    for run in found["runs"]:
        assert run.keys() >= RUN_FIELDS
        assert (run["requests"], run["errors"], run["error_rate"]) == (6, 0, 0.0)
        assert run["output_tokens"] == {"mean": 5.0}
        assert run["ttft_ms"]["p50"] <= run["ttft_ms"]["p95"] <= run["ttft_ms"]["p99"]
        # five words, 10 ms before each
        assert run["latency_ms"]["min"] >= 50
        assert run["memory"]["cpu_mb"]["rss"] > 0
    prompts = [body["messages"][0]["content"] for body in endpoint.bodies]
    assert len(set(prompts)) == len(prompts), "no cache may answer"


@pytest.mark.slow
def test_a_seed_sends_the_very_same_requests(fake: Start) -> None:
    words = ("--concurrency", "1", "--requests", "5", "--warm-up", "1")
    sent = []
    for seed in ("7", "7", "8"):
        endpoint = fake(words=1)
        assert builder(*openai(endpoint, *words, "--seed", seed)).returncode == 0
        sent.append([body["messages"] for body in endpoint.bodies])
    assert sent[0] == sent[1] != sent[2]
    assert len(sent[0]) == 6


def test_no_more_is_asked_than_wanted(fake: Start) -> None:
    """Two warm up, five are measured, by two workers of which one has nothing to do at the end."""
    endpoint = fake()
    words = ("--openai", endpoint.url, "--model", "m", "--concurrency", "2", "--warm-up", "2")
    found = measured(*words, "--requests", "5", "--no-keep-up")
    assert len(endpoint.bodies) == 7
    assert found["runs"][0]["requests"] == 5
    assert found["settings"]["kept_up"] is False


def test_several_processes_ask_as_one(fake: Start) -> None:
    endpoint = fake(words=3)
    words = ("--openai", endpoint.url, "--model", "m", "--concurrency", "5", "--requests", "12")
    (run,) = (found := measured(*words, "--processes", "3", "--warm-up", "0", "--no-keep-up"))["runs"]
    assert found["settings"]["processes"] == 3
    assert (run["requests"], run["errors"], run["output_tokens"]) == (12, 0, {"mean": 3.0})
    prompts = [body["messages"][0]["content"] for body in endpoint.bodies]
    assert len(set(prompts)) == len(prompts) == 12, "no cache may answer, whoever asks"


@pytest.mark.slow
def test_files_table_and_comparison(fake: Start, tmp_path: Path) -> None:
    first, second, page = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "report.html"
    words = ("--concurrency", "1,2", "--requests", "4", "--repeat", "2")
    fast, slow = fake(words=4, pause=0.002), fake(words=4, pause=0.05)
    done = builder(*openai(fast, *words, "--output", str(first), "--html", str(page)))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "2 at once, 2" in done.stdout
    assert builder(*openai(slow, *words, "--output", str(second))).returncode == 0
    compared = builder("--compare", str(first), str(second))
    assert compared.returncode == 0, compared.stderr
    assert "tokens_per_second" in compared.stdout
    assert "warning" not in compared.stdout
    rows = json.loads(builder("--compare", str(first), str(second), "--json").stdout)
    assert {row["verdict"] for row in rows} == {"too few repeats"}
    assert all(row["lowest"] <= row["ratio"] <= row["highest"] and row["pairs"] == 2 for row in rows)
    _stands_alone(page.read_text())
    other = json.loads(second.read_text())
    other["settings"]["output_tokens"] = 7
    second.write_text(json.dumps(other))
    told = builder("--compare", str(first), str(second))
    assert "warning: measured with different settings: output_tokens: 128 and 7" in told.stdout


def _stands_alone(page: str) -> None:
    for forbidden in ("<script", "<link", "<img", " src=", "@import", "url("):
        assert forbidden not in page
    drawings = [part.partition("</svg>")[0] + "</svg>" for part in page.split("<svg")[1:]]
    assert len(drawings) == 5
    for drawing in drawings:
        root = ElementTree.fromstring(f"<svg{drawing}")
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        for circle in root.iter("circle"):
            assert 0 <= float(circle.attrib["cx"]) <= width
            assert 0 <= float(circle.attrib["cy"]) <= height


def test_requirements_gate(fake: Start) -> None:
    words = openai(fake(), "--concurrency", "1", "--requests", "4")
    good = builder(*words, "--require", "error_rate==0,latency_min>=50ms,tokens_per_second>0")
    assert good.returncode == 0, good.stderr
    bad = builder(*words, "--require", "error_rate==0, latency_p50<1ms")
    assert bad.returncode == 1
    assert "latency_p50<1ms" in bad.stdout
    assert " ms " in bad.stdout.rpartition("latency_p50<1ms")[2]
    quiet = builder(*words, "--require", "latency_p50<1ms", "--json")
    assert quiet.returncode == 1
    assert json.loads(quiet.stdout)["runs"]
    assert "latency_p50<1ms" in quiet.stderr
    misspelt = builder(*words, "--require", "latency_p5<1ms")
    assert misspelt.returncode == 2
    assert "did you mean latency_p" in misspelt.stderr


@pytest.mark.parametrize(
    ("manners", "said"),
    [
        ({"status": 500}, "HTTP 500: out of order"),
        ({"silent_after": 1}, "no response within 0.5 s"),
        ({"broken_after": 1}, "not completed"),
        ({"error_after": 1}, "the engine died"),
        ({"key": "k"}, "wrong key"),
        ({"raw": b"data: [DONE]\n\n"}, "without a single token"),
    ],
)
def test_a_server_that_answers_nobody(fake: Start, manners: dict[str, Any], said: str) -> None:
    # only silence must run into the patience, on a machine however slow
    patience = "0.5" if "silent_after" in manners else "60"
    done = builder(*openai(fake(**manners), "--concurrency", "2", "--patience", patience, "--json"))
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_server_that_goes_away_leaves_what_was_measured(fake: Start, tmp_path: Path) -> None:
    # the first level and its warm-up are 2 + 4 requests
    endpoint = fake(fails_from=8)
    output = tmp_path / "part.json"
    done = builder(*openai(endpoint, "--concurrency", "1,2", "--requests", "4", "--output", str(output)))
    assert done.returncode == 1
    assert "HTTP 503: out of order" in done.stderr
    assert "1 at once" in done.stdout
    found = json.loads(output.read_text())
    assert found["runs"][0]["errors"] == 0
    assert "answered" in found["ended_early"] or found["runs"][1]["errors"]


def test_nobody_there() -> None:
    for place in (("--url", "http://127.0.0.1:9"), ("--openai", "http://127.0.0.1:9", "--model", "m")):
        done = builder(*place)
        assert done.returncode == 1
        assert "127.0.0.1:9" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_key_comes_from_the_environment(fake: Start) -> None:
    endpoint = fake(key="secret")
    words = openai(endpoint, "--concurrency", "1", "--requests", "2", "--api-key-env", "MY_KEY", "--json")
    done = builder(*words, environment={**os.environ, "MY_KEY": "secret"})
    assert done.returncode == 0, done.stderr
    assert "secret" not in done.stdout
    unset = builder(
        *words, environment={name: value for name, value in os.environ.items() if name != "MY_KEY"}
    )
    assert unset.returncode == 2
    assert "MY_KEY" in unset.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--concurrency", "1,x"), "'x'"),
        (("--concurrency", "0"), "'0'"),
        (("--concurrency", ""), "''"),
        (("--rate", "inf"), "'inf'"),
        (("--rate", "-1"), "'-1'"),
        (("--requests", "3", "--seconds", "2"), "exclude each other"),
        (("--no-keep-up", "--concurrency", "2"), "--no-keep-up needs --requests"),
        (("--no-keep-up", "--requests", "3", "--rate", "2"), "without --rate"),
        (("--url", "http://127.0.0.1:9"), "--url needs a Triton"),
        (("--extra", "[1]"), "no JSON object"),
        (("--prompts", "none.jsonl"), "none.jsonl"),
        (("--require", ""), "'--require': is empty"),
        (("--extra", ""), "no JSON object"),
        (("--seconds", "nan"), "no finite number"),
        (("--seconds", "inf"), "not in the range"),
        (("--patience", "nan"), "no finite number"),
        (("--rate", "1e-9"), "from 0.01 to 10,000"),
        (("--concurrency", "99999999"), "from 1 to 10,000"),
        (("--output", "/nonexist/a.json"), "/nonexist does not exist"),
        (("--output", "/proc/a.json"), "/proc/a.json cannot be written"),
        (("--html", "/tmp"), "/tmp is a folder"),
        (("--compare", "none.json", "none.json"), "does not go with --openai"),
    ],
)
def test_misuse_is_explained(words: tuple[str, ...], said: str) -> None:
    done = builder("--openai", "http://127.0.0.1:9", "--model", "m", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["--require=errors==0", "--output=x.json", "--html=x.html", "smollm2"])
def test_a_comparison_refuses_what_it_would_ignore(option: str) -> None:
    done = builder("--compare", "a.json", "b.json", option)
    assert done.returncode == 2
    assert "--compare measures nothing: it does not go with" in done.stderr


def test_a_disk_that_is_full_at_the_end_costs_only_the_file(fake: Start) -> None:
    done = builder(*openai(fake(), "--concurrency", "1", "--requests", "2", "--output", "/dev/full"))
    assert done.returncode == 1
    assert "1 at once" in done.stdout
    assert done.stderr.startswith("error: --output /dev/full could not be written: No space left")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_end_from_outside_leaves_no_process(fake: Start, number: signal.Signals, code: int) -> None:
    endpoint = fake(words=50, pause=0.05)
    process = subprocess.Popen(
        command(*openai(endpoint, "--concurrency", "2", "--warm-up", "0")),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: len(endpoint.bodies) >= 2)
    [generator] = children(process.pid)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in said
    until(lambda: not alive(generator))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_keeps_the_runs_that_were_done(
    fake: Start, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    output = tmp_path / "part.json"
    endpoint = fake(words=20, pause=0.03)
    process = subprocess.Popen(
        command(
            *openai(endpoint, "--concurrency", "1,2", "--requests", "2", "--warm-up", "0", "--seed", "1"),
            *("--output", str(output)),
        ),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: len(endpoint.bodies) >= 4)
    process.send_signal(number)
    shown, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "1 at once" in shown
    assert len(json.loads(output.read_text())["runs"]) == 1
    assert "1 of 2 runs were measured" in said


def test_the_generator_is_another_process() -> None:
    """Neither the command line nor the measurement loads what the load is made with."""
    found = "[name for name in ('grpc', 'aiohttp', 'asyncio') if name in sys.modules]"
    code = f"import sys, builder.measure; print({found})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
