"""The parts of benchmarks/encoder_gpu.py that need no GPU: texts, closed loop, figures, memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from encoder import gpu_cases, gpu_figures, gpu_load, gpu_memory, gpu_raw, gpu_texts, texts
from encoder.gpu_figures import AWAKE, OURS, RAW, Row
from encoder.gpu_load import Sample
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from tritonclient.grpc import service_pb2, service_pb2_grpc


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # has no types
    """Answers after a while; writes down how many requests it had at the same time."""

    def __init__(self) -> None:
        self.now, self.most, self.lock = 0, 0, threading.Lock()
        self.refuses = False

    def ModelInfer(self, request: object, context: grpc.ServicerContext) -> object:
        if self.refuses:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not today")
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.01)
        with self.lock:
            self.now -= 1
        return service_pb2.ModelInferResponse()


@pytest.fixture
def served() -> Iterator[tuple[Server, str]]:
    server, servicer = grpc.server(ThreadPoolExecutor(8)), Server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(0).wait()


def job(address: str, in_flight: int) -> dict[str, object]:
    begin = time.monotonic()
    return {
        "address": address,
        "model": "m",
        "begin": begin,
        "end": begin + 4.0,
        "in_flight": in_flight,
        "texts": ["a", "b"],
    }


@pytest.mark.parametrize("in_flight", [1, 3])
def test_a_closed_loop_keeps_its_requests_in_flight(served: tuple[Server, str], in_flight: int) -> None:
    server, address = served
    found = gpu_load.answer(job(address, in_flight))
    assert server.most == in_flight
    assert found["latencies_ms"] and min(found["latencies_ms"]) >= 10


@pytest.mark.parametrize("in_flight", [1, 3])
def test_an_error_is_no_answer(served: tuple[Server, str], in_flight: int) -> None:
    server, address = served
    server.refuses = True
    # the first refusal ends it, however late it comes
    patient = job(address, in_flight) | {"end": time.monotonic() + 60}
    assert "not today" in gpu_load.answer(patient)["error"]


def test_what_ends_outside_the_window_does_not_count(served: tuple[Server, str]) -> None:
    _, address = served
    late = job(address, 1) | {"begin": time.monotonic() + 60}
    assert gpu_load.answer(late) == {"latencies_ms": []}


@given(st.integers(1, 300), st.integers(1, 32))
def test_requests_in_flight_are_shared_evenly(concurrency: int, processes: int) -> None:
    shares = list(gpu_load.shared(concurrency, processes))
    assert sum(shares) == concurrency
    assert len(shares) <= processes
    assert min(shares) > 0 and max(shares) - min(shares) <= 1


def test_a_sample_by_hand() -> None:
    assert gpu_load.sample_of(30, 2.0, [1.0, 2.0, 9.0]) == Sample(15.0, 2.0, pytest.approx(8.86))
    assert gpu_load.sample_of(0, 2.0, []) == Sample(0.0, None, None)


@pytest.mark.parametrize("tokens", [5, 16, 128])
def test_texts_have_exactly_so_many_tokens(tokens: int, tmp_path: Path) -> None:
    letters = sorted({letter for line in texts.passages() for letter in line if letter != " "})
    made = Tokenizer(models.BPE({letter: number for number, letter in enumerate(["[S]", *letters])}, []))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(single="[S] $A [S]", special_tokens=[("[S]", 0)])
    made.save(str(tmp_path / "tokenizer.json"))
    found = gpu_texts.of(tmp_path / "tokenizer.json", tokens)
    assert len(found) == gpu_texts.NUMBER
    assert {len(made.encode(text).ids) for text in found} == {tokens}
    assert found == gpu_texts.of(tmp_path / "tokenizer.json", tokens)
    # one token a letter, so that counting by words is what the tokenizer does
    assert {len(text.replace(" ", "")) for text in found} == {tokens - 2}


def row(way: str, tokens: int, level: int, *samples: Sample) -> Row:
    return Row(gpu_figures.HEAD, way, tokens, level, samples=dict(enumerate(samples)))


def test_figures_by_hand() -> None:
    rows = [
        row(OURS, 16, 1, Sample(500, 1.2, 2.0), Sample(500, 1.6, 2.0), Sample(500, 1.3, 2.0)),
        row(AWAKE, 16, 1, Sample(500, 1.1, 2.0)),
        row(RAW, 16, 1, Sample(1000, 0.9, 1.0)),
        row(OURS, 16, 64, Sample(50, 1.0, 1.0), Sample(30, 1.0, 1.0), Sample(90, 1.0, 1.0)),
        # paired by repeat: 0.5, 0.1 and 0.9, while the ratio of the medians is 0.5 as well as 50 / 100
        row(RAW, 16, 64, Sample(100, 1.0, 1.0), Sample(300, 1.0, 1.0), Sample(100, 1.0, 1.0)),
        row(OURS, 128, 1, Sample(400, 2.5, 3.0)),
        row(AWAKE, 128, 1, Sample(400, 2.1, 3.0), Sample(400, 2.3, 3.0), Sample(400, 2.2, 3.0)),
        row(RAW, 128, 1, Sample(400, 2.0, 3.0)),
        row(OURS, 128, 64, Sample(80, 1.0, 1.0), Sample(10, 1.0, 1.0), Sample(70, 1.0, 1.0)),
        row(RAW, 128, 64, Sample(100, 1.0, 1.0), Sample(100, 1.0, 1.0), Sample(100, 1.0, 1.0)),
    ]
    assert gpu_figures.of(rows) == {
        "e2e_p50_ms_16tok_b1": 1.1,
        "served_over_raw_c64": 0.7,
        "e2e_p50_ms_16tok_b1_minilm_fp32": 1.1,
        "e2e_plain_p50_ms_16tok_b1_minilm_fp32": 1.3,
        "served_over_raw_c64_16tok_minilm_fp32": 0.5,
        "e2e_p50_ms_128tok_b1_minilm_fp32": 2.2,
        "e2e_plain_p50_ms_128tok_b1_minilm_fp32": 2.5,
        "served_over_raw_c64_128tok_minilm_fp32": 0.7,
    }


def test_memory_of_a_family() -> None:
    table = "12, 1000\n13, 500\n14, 7\n15, [N/A]\n"
    assert gpu_memory.of(table, {12, 14, 15}) == 1007
    assert gpu_memory.of(table, {99, 15}) is None
    assert gpu_memory.of("", {12}) is None


def test_the_head_case_is_played_and_raw_may_choose() -> None:
    assert gpu_figures.HEAD in {case.name for case in gpu_cases.CASES}
    assert {one["graph"] for one in gpu_raw.SETTINGS} == {one["graph"] for one in gpu_raw.USUAL}
    assert {one["batch"] for one in gpu_raw.ALONE} == {1}
