"""Measuring a real embedded Triton: three ways to ask, its own counters, its memory, its end."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from measure_command import ROOT, builder, command, measured
from processes import alive, children, until

from builder.measuring import counters
from builder.server import Server

pytestmark = pytest.mark.triton

TOKENS = 16


def words(server: Server, prompts: Path, *more: str) -> list[str]:
    return [
        *("--url", f"http://{server.http}", "--grpc-url", server.grpc, "--metrics-url", server.metrics),
        *("--prompts", str(prompts), "--output-tokens", str(TOKENS), *more),
    ]


def require_whole(run: dict[str, Any], requests: int) -> None:
    assert (run["requests"], run["errors"], run["error_messages"]) == (requests, 0, {})
    assert run["output_tokens"] == {"mean": TOKENS}
    assert run["input_tokens"]["mean"] > 0
    # the script takes 4 ms a step
    assert run["latency_ms"]["min"] >= TOKENS * 4
    assert run["ttft_ms"]["min"] >= 4
    assert run["tokens_per_second"] > 0


@pytest.mark.parametrize("door", ["grpc", "http"])
def test_both_doors(triton: Server, short_prompts: Path, door: str) -> None:
    found = measured(*words(triton, short_prompts, "--door", door, "--concurrency", "1,4", "--requests", "8"))
    assert (found["name"], found["door"]) == ("scripted", door)
    assert found["settings"]["fields"] == {"max_tokens": TOKENS, "min_tokens": TOKENS, "stream": True}
    for run in found["runs"]:
        require_whole(run, 8)
        assert run["mean_batch_size"]["scripted"] >= 1
        assert run["memory"]["cpu_mb"]["processes"] >= 2, "tritonserver and its stubs"
        assert run["memory"]["cpu_mb"]["shared"] > 0
        assert run["memory"]["gpu_mb"] == {} or all(run["memory"]["gpu_mb"].values())
    alone, together = found["runs"]
    # one engine, four sequences that take turns
    assert together["itl_ms"]["mean"] > alone["itl_ms"]["mean"]


def test_open_loop(triton: Server, short_prompts: Path) -> None:
    [run] = measured(*words(triton, short_prompts, "--rate", "20", "--requests", "10"))["runs"]
    require_whole(run, 10)
    assert run["load"] == {"kind": "open", "rate": 20.0}


def test_the_ensemble_counts_its_tokenizers_batches(triton: Server, short_prompts: Path) -> None:
    found = measured(
        "scripted_ensemble", *words(triton, short_prompts, "--concurrency", "2", "--requests", "4")
    )
    [run] = found["runs"]
    require_whole(run, 4)
    assert run["mean_batch_size"]["scripted_tokenizer"] >= 1


def test_errors_of_the_model_are_counted_by_their_text(triton: Server, short_prompts: Path) -> None:
    extra = ("--extra", '{"max_tokens": 399, "min_tokens": 0}', "--concurrency", "1")
    done = builder("scripted", *words(triton, short_prompts, *extra))
    assert done.returncode == 1
    assert "the context holds 400" in done.stderr


def test_what_the_server_has_not_is_named(triton: Server, short_prompts: Path) -> None:
    unknown = builder("scriptd", *words(triton, short_prompts))
    assert unknown.returncode == 2
    assert "did you mean scripted" in unknown.stderr
    plain = builder("scripted_tokenizer", *words(triton, short_prompts))
    assert plain.returncode == 2
    assert "does not stream text" in plain.stderr
    extra = builder(*words(triton, short_prompts, "--extra", '{"max_token": 3}'))
    assert extra.returncode == 2
    assert "did you mean max_tokens" in extra.stderr
    unfit = builder(*words(triton, short_prompts, "--extra", '{"temperature": "x"}'))
    assert unfit.returncode == 2
    assert 'temperature cannot be "x"' in unfit.stderr


def test_a_wrong_port_is_named(triton: Server, short_prompts: Path) -> None:
    no_http = builder("--url", f"http://{triton.grpc}")
    assert no_http.returncode == 1
    assert "does not speak HTTP" in no_http.stderr
    no_chat = builder("--openai", f"http://{triton.http}", "--model", "m")
    assert no_chat.returncode == 1
    assert f"http://{triton.http} has no /v1/chat/completions endpoint" in no_chat.stderr
    assert "--url" in no_chat.stderr
    neither = builder("--openai", f"http://{triton.grpc}", "--model", "m")
    assert neither.returncode == 1
    assert "does not speak HTTP" in neither.stderr
    assert max(map(len, neither.stderr.splitlines())) < 500
    elsewhere = builder(*words(triton, short_prompts, "--grpc-url", "127.0.0.1:9"))
    assert elsewhere.returncode == 1
    assert "no Triton answers over gRPC at 127.0.0.1:9" in elsewhere.stderr


def test_without_a_url_one_is_booted_and_ended(repository: Path, short_prompts: Path) -> None:
    shared = set(Path("/dev/shm").iterdir())
    found = measured(
        "scripted",
        *("--directory", str(repository), "--prompts", str(short_prompts), "--output-tokens", str(TOKENS)),
        *("--concurrency", "2", "--requests", "4"),
    )
    require_whole(found["runs"][0], 4)
    port = int(found["url"].rpartition(":")[2])
    listening = Path("/proc/net/tcp").read_text()
    assert f"0100007F:{port:04X}" not in listening
    left = {path for path in set(Path("/dev/shm").iterdir()) - shared if "triton" in path.name}
    assert not {path for path in left if not _is_mapped(path)}


def _is_mapped(region: Path) -> bool:
    """Return whether a server that runs uses it: another test's, as the one that was asked for has ended."""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            if str(region) in maps.read_text():
                return True
    return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_end_from_outside_ends_the_booted_server(
    repository: Path, short_prompts: Path, number: signal.Signals, code: int
) -> None:
    options = ("--directory", str(repository), "--prompts", str(short_prompts), "--concurrency", "2")
    process = subprocess.Popen(
        command("scripted", *options, "--requests", "100000"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: len(children(process.pid)) == 2)
    left = children(process.pid)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in said
    until(lambda: not any(alive(one) for one in left))


@pytest.mark.parametrize("door", ["grpc", "http"])
def test_a_server_that_dies_in_the_middle(
    boot: Callable[..., Server], repository: Path, short_prompts: Path, door: str
) -> None:
    server = boot(repository)
    more = ("--door", door, "--concurrency", "2", "--seconds", "600", "--json")
    process = subprocess.Popen(
        command("scripted", *words(server, short_prompts, *more)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    before = answered(server)
    until(lambda: answered(server) > before + 4)
    server.kill()
    shown, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "were answered" in said or "was answered" in said
    [run] = json.loads(shown)["runs"]
    assert 0 < run["errors"] < run["requests"]


def answered(server: Server) -> float:
    return counters.batches(server.http)["scripted"][0]
