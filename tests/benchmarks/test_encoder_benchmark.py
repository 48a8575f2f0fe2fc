"""The pure parts of the encoder benchmark: texts, the closed loop, the contest, its figures."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import encoder_cpu
import numpy as np
import pytest
from encoder import children, contest, doors, entrants, figures, lineup, load, ours, stage, texts
from encoder.contest import Row, Sample
from encoder.peers import onnxruntime as raw
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import until
from workbench import bars, memory
from workbench.children import BENCHMARKS, PeerFailed


def count(text: str) -> int:
    """A tokenizer of which numbers are easily told: one token a syllable-like three letters, two around."""
    return 2 + sum(-(-len(word) // 3) for word in text.split())


# -- texts ----------------------------------------------------------------------------------------


def test_texts_have_the_lengths_they_should() -> None:
    found = texts.mixed(300, count)
    lengths = [count(text) for text in found]
    assert len(set(found)) == 300
    assert min(lengths) >= texts.SHORTEST and max(lengths) <= texts.LONGEST
    assert min(lengths) < 15 and max(lengths) > 190
    assert abs(sum(lengths) / 300 - (texts.SHORTEST + texts.LONGEST) / 2) < 10


def test_texts_of_one_length_are_different() -> None:
    found = texts.of_one_length(100, count)
    assert len(set(found)) == 100
    assert {count(text) for text in found} == {texts.ONE_LENGTH}


def test_texts_are_the_same_every_time_and_begin_alike() -> None:
    assert texts.mixed(40, count) == texts.mixed(80, count)[:40]


def test_texts_are_words_that_follow_one_another() -> None:
    passage = " ".join(texts.passages())
    assert all(text in passage for text in texts.mixed(30, count))


# -- the closed loop ------------------------------------------------------------------------------


@dataclass
class Clocked:
    """A door behind which every text takes a turn of the loop; it counts who is inside."""

    inside: int = 0
    most: int = 0
    asked: list[str] = field(default_factory=list)
    is_open: bool = False
    fails: bool = False

    def request(self, text: str) -> str:
        return text

    async def knock(self) -> None:
        self.is_open = True

    async def ask(self, request: str) -> str:
        assert self.is_open
        if self.fails:
            raise doors.Refused("no")
        self.asked.append(request)
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.001)
        self.inside -= 1
        return request

    def vector(self, answer: str) -> Any:
        return np.array([len(answer)], dtype=np.float32)

    async def leave(self) -> None:
        self.is_open = False


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 12))
def test_every_text_is_asked_for_once_after_the_warm_up(number: int, level: int, warm_up: int) -> None:
    door = Clocked()
    wanted = [str(place) for place in range(number)]
    run = load.closed(door, wanted, level, warm_up)
    assert sorted(door.asked[min(warm_up, number) :]) == sorted(wanted)
    assert len(run.latencies_ms) == run.texts == number
    assert door.most == min(level, number)
    assert not door.is_open
    assert run.rate == pytest.approx(number / run.seconds)


def test_a_refusal_ends_the_loop_and_closes_the_door() -> None:
    door = Clocked(fails=True)
    with pytest.raises(doors.Refused):
        load.closed(door, ["a"], 1, 0)
    assert not door.is_open


def test_vectors_come_in_the_order_of_the_texts() -> None:
    assert [int(one[0]) for one in load.vectors(Clocked(), ["aaa", "a", "aa"])] == [3, 1, 2]


# -- doors ----------------------------------------------------------------------------------------

VECTOR = np.array([0.5, -2.0], dtype="<f4")


def test_triton_is_asked_by_grpc() -> None:
    door = doors.TritonGrpc("127.0.0.1:1", "minilm", text="text")
    made = door.request("héllo")
    assert (made.model_name, made.inputs[0].name, list(made.inputs[0].shape)) == ("minilm", "text", [1, 1])
    assert made.raw_input_contents[0] == b"\x06\0\0\0h\xc3\xa9llo"
    answer = doors.service_pb2.ModelInferResponse(raw_output_contents=[VECTOR.tobytes()])
    assert door.vector(answer).tolist() == [0.5, -2.0]


def test_triton_is_asked_by_http() -> None:
    door = doors.TritonHttp("127.0.0.1:1", "minilm")
    assert door.url == "http://127.0.0.1:1/v2/models/minilm/infer"
    assert json.loads(door.request("hé"))["inputs"][0]["data"] == ["hé"]
    assert door.vector(("7", b'{"a":1}' + VECTOR.tobytes())).tolist() == [0.5, -2.0]


@pytest.mark.parametrize(
    ("door", "request_", "answer"),
    [
        (doors.Json("http://a"), {"text": "hi"}, {"embedding": [0.5, -2.0]}),
        (doors.Json("http://a", "texts", batches=True), {"texts": ["hi"]}, [[0.5, -2.0]]),
    ],
)
def test_peers_are_asked_in_json(door: doors.Json, request_: Any, answer: Any) -> None:
    assert json.loads(door.request("hi")) == request_
    assert door.vector(("", json.dumps(answer).encode())).tolist() == [0.5, -2.0]


# -- the contest ----------------------------------------------------------------------------------


@dataclass
class Scripted:
    """An entrant whose rates are given by concurrency."""

    name: str
    rates: dict[int, float]
    asked: list[str]

    def sample(self, some: Sequence[str], concurrency: int) -> Sample:
        self.asked.append(self.name)
        return Sample(self.rates[concurrency], 1000 / self.rates[concurrency], 9.0)

    def peak_mb(self) -> float:
        return 100.0


def row(name: str, rates: dict[str, dict[int, float]], asked: list[str] | None = None) -> Row:
    """Return a row with a candidate for each of `rates`."""
    said = asked if asked is not None else []

    @contextmanager
    def start(settings: dict[str, Any]) -> Iterator[Scripted]:
        said.append(f"+{settings['name']}")
        yield Scripted(settings["name"], rates[settings["name"]], said)
        said.append(f"-{settings['name']}")

    return Row(name, "served", [{"name": one} for one in rates], start)


TRIES = {1: ["a"], 16: ["a", "b"]}


def test_every_concurrency_has_its_best_settings() -> None:
    asked: list[str] = []
    peer = row("peer", {"quick": {1: 9.0, 16: 5.0}, "wide": {1: 3.0, 16: 20.0}}, asked)
    with ExitStack() as stack:
        assert entrants.joins(peer, TRIES, stack)
        assert peer.best == {1: {"name": "quick"}, 16: {"name": "wide"}}
        assert asked[-2:] == ["+quick", "+wide"]
        assert {level: one.name for level, one in peer.entrants.items()} == {1: "quick", 16: "wide"}  # type: ignore[attr-defined]
    assert asked[-2:] == ["-wide", "-quick"]


def test_one_process_serves_all_concurrencies_that_it_is_best_at() -> None:
    asked: list[str] = []
    peer = row("peer", {"slow": {1: 1.0, 16: 1.0}, "fast": {1: 3.0, 16: 20.0}}, asked)
    with ExitStack() as stack:
        assert entrants.joins(peer, TRIES, stack)
        assert peer.entrants[1] is peer.entrants[16]
        assert asked.count("+fast") == 2


def test_a_row_without_choice_is_not_tried() -> None:
    asked: list[str] = []
    with ExitStack() as stack:
        assert entrants.joins(row("peer", {"only": {1: 3.0, 16: 20.0}}, asked), TRIES, stack)
    assert asked == ["+only", "-only"]


def test_rows_run_in_turn_and_back() -> None:
    asked: list[str] = []
    rows = [row(name, {name: {1: 1.0}}, asked) for name in "abc"]
    with ExitStack() as stack:
        assert all(entrants.joins(one, {1: ["x"]}, stack) for one in rows)
        asked.clear()
        contest.play(rows, {1: 2}, {1: ["x"]})
        assert "".join(asked) == "abccba"


@pytest.mark.parametrize(("times", "turns"), [(1, [0]), (2, [0, 1]), (7, [0, 3, 6]), (9, [0, 3, 6])])
def test_a_row_beyond_doubt_plays_seldom(times: int, turns: list[int]) -> None:
    peer = row("peer", {})
    assert list(contest.turns(peer, times)) == list(range(times))
    peer.seldom = True
    assert list(contest.turns(peer, times)) == turns


def test_a_row_that_cannot_start_is_left_out_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    @contextmanager
    def start(settings: dict[str, Any]) -> Iterator[Scripted]:
        raise PeerFailed("it has no wheels")
        yield

    with ExitStack() as stack:
        assert not entrants.joins(Row("cart", "served", [{}], start), TRIES, stack)
    assert "LEFT OUT cart: it has no wheels" in capsys.readouterr().err


def test_latencies_are_told_by_median_and_99th_percentile() -> None:
    found = contest.sample_of(load.Run(2.0, [float(place) for place in range(1, 101)], 100), 7.5)
    assert (found.texts_per_second, found.p50_ms, found.mean_batch) == (50.0, 50.5, 7.5)
    assert found.p99_ms == pytest.approx(99.99)


# -- the proof ------------------------------------------------------------------------------------


def test_vectors_must_point_the_same_way(tmp_path: Path) -> None:
    wanted = [np.array([1.0, 0.0], dtype=np.float32), np.array([0.0, 1.0], dtype=np.float32)]
    common = stage.Stage({}, tmp_path, ["a", "b"], wanted)
    common.require_alike("good", [3 * wanted[0], wanted[1] + np.float32([0.01, 0])])
    with pytest.raises(PeerFailed, match=r"swapped gives other vectors: cosine 0\.000000"):
        common.require_alike("swapped", wanted[::-1])
    with pytest.raises(PeerFailed, match="cosine nan"):
        common.require_alike("broken", [wanted[0], wanted[1] * np.float32(np.nan)])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_zero_vector_is_alike_to_nothing(tmp_path: Path) -> None:
    one = [np.array([1.0, 0.0], dtype=np.float32)]
    with pytest.raises(PeerFailed):
        stage.Stage({}, tmp_path, ["a"], one).require_alike("zero", [0 * one[0]])


# -- figures --------------------------------------------------------------------------------------


def played(name: str, rates: list[float], delays: list[float] | None = None) -> Row:
    found = row(name, {})
    for level in (1, 16, 64):
        found.samples[level] = {
            place: Sample(rate, None if delays is None else delays[place], 1.0)
            for place, rate in enumerate(rates)
        }
    return found


def test_figures_are_ratios_of_runs_side_by_side() -> None:
    rows = [
        # the machine was half as fast in the second repeat, for all
        played("builder", [90.0, 45.0], [11.0, 22.5]),
        # whoever is faster by HTTP is still us
        played("builder_http", [500.0, 500.0], [1.0, 1.0]),
        played("onnxruntime", [100.0, 50.0], [10.0, 22.0]),
        played("fastapi_torch", [30.0, 15.0], [1.0, 1.0]),
        played("litserve", [60.0, 30.0], [1.0, 1.0]),
    ]
    assert figures.of(rows) == {
        **{f"served_over_raw_c{level}": pytest.approx(0.9) for level in (16, 64)},
        **{f"served_over_best_peer_c{level}": pytest.approx(1.5) for level in (16, 64)},
        **{f"served_over_fastapi_torch_c{level}": pytest.approx(3.0) for level in (16, 64)},
        "p50_added_ms_c1": pytest.approx(0.75),
    }


def test_without_the_others_their_figures_are_missing() -> None:
    found = figures.of([played("builder", [9.0], [1.0])])
    assert found == {}
    assert len(bars.missed(figures.BARS, found)) == len(figures.BARS)


def test_the_bars_are_those_of_the_figures() -> None:
    every = {
        "served_over_raw_c16": 0.8,
        "served_over_raw_c64": 0.8,
        "served_over_fastapi_torch_c16": 2.0,
        "served_over_fastapi_torch_c64": 2.0,
        "served_over_best_peer_c16": 1.0,
        "served_over_best_peer_c64": 1.0,
        "p50_added_ms_c1": 1.0,
        "mean_batch_c16": 8.0,
    }
    assert bars.missed(figures.BARS, every) == []
    assert bars.missed(figures.BARS, {**every, "served_over_raw_c64": 1.1}) == [
        "served_over_raw_c64 <= 1.03: it is 1.1 (raw was not tuned)"
    ]
    assert {bar.figure for bar in figures.BARS} == set(every)


def test_rows_are_shown_with_holes_where_a_library_has_no_latency(capsys: pytest.CaptureFixture[str]) -> None:
    named = {"kind": "library", "mean_batch": None, "peak_mb": 12.0, "p99_ms": None}
    figures.show([{"row": "x", "concurrency": 16, "texts_per_second": 3.25, "p50_ms": None, **named}])
    line = next(one for one in capsys.readouterr().out.splitlines() if " x " in one)
    assert line.replace("│", "").split() == ["x", "library", "16", "3.2", "12.0"]


# -- peers ----------------------------------------------------------------------------------------


def test_every_peer_has_a_file_and_pinned_requirements() -> None:
    constraints = (BENCHMARKS.parent / "scripts" / "constraints.txt").read_text()
    for name, peer in lineup.PEERS.items():
        file = entrants.file_of(name)
        assert (BENCHMARKS / "encoder" / "peers" / f"{file}.py").is_file()
        if peer.own_environment:
            lines = (BENCHMARKS / f"requirements-encoder-{file}.txt").read_text().splitlines()
            packages = [line for line in lines if not line.startswith(("#", "--"))]
            assert packages
            assert all("==" in line or f"\n{line}==" in constraints for line in packages)
            assert file in encoder_cpu.PACKAGES


def test_a_peer_that_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["encoder_cpu.py", "--peers", "litserve,nosuch"])
    with pytest.raises(SystemExit):
        encoder_cpu.main()
    assert "no peer is named nosuch; there are onnxruntime," in capsys.readouterr().err


def test_a_peer_that_cannot_load_says_why(tmp_path: Path) -> None:
    child = children.Library(Path(sys.executable), "nobody", {}, tmp_path / "log")
    with child, pytest.raises(PeerFailed, match=r"No module named 'encoder\.peers\.nobody'"):
        child.vectors(["a"])


def test_a_server_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    door = doors.Json("http://127.0.0.1:9/embed")
    server = children.Server(Path(sys.executable), "nobody", {}, tmp_path / "log", door, 9)
    with server, pytest.raises(PeerFailed, match="No module named"):
        server.wait()


def test_a_restless_server_rests_with_all_that_it_started(tmp_path: Path) -> None:
    """In the place of a peer's interpreter stands a script that starts a process and waits."""
    started = tmp_path / "python"
    started.write_text("#!/bin/sh\nsleep 600 &\nread line\n")
    started.chmod(0o755)
    door = doors.Json("http://127.0.0.1:9/embed")

    def states() -> set[str]:
        files = [Path("/proc") / str(pid) / "stat" for pid in members]
        return {file.read_text().rpartition(")")[2].split()[0] for file in files if file.exists()}

    with children.Server(started, "restless", {}, tmp_path / "log", door, 9) as server:
        until(lambda: len(memory.family(server.pid)) == 2)
        members = memory.family(server.pid)
        server.rest()
        # a process on another core stops when the signal reaches it, not when it was sent
        until(lambda: states() == {"T"})
        server.wake()
        until(lambda: "T" not in states())
        server.rest()
    # whoever adopted the other one has perhaps not buried it yet
    until(lambda: not states() - {"Z"})


def test_a_turn_ends_with_rest_whatever_happens() -> None:
    told: list[str] = []

    class Restless:
        def wake(self) -> None:
            told.append("wake")

        def rest(self) -> None:
            told.append("rest")

    @dataclass
    class Closed:
        async def knock(self) -> None:
            raise doors.Refused("closed")

        def request(self, text: str) -> str:
            return text

    served = entrants.Served(Closed(), 0, restless=Restless())  # type: ignore[arg-type]
    with pytest.raises(doors.Refused):
        served.sample(["a"], 1)
    assert told == ["wake", "rest"]


def test_the_peak_is_that_of_the_whole_family() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        status = Path(f"/proc/{parent.pid}/status").read_text().splitlines()
        (alone,) = (int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))
        assert children.peak_megabytes(parent.pid) > alone + 1
        parent.communicate(b"\n")
    assert children.peak_megabytes(parent.pid) == 0


def test_a_packed_batch_has_no_padding_and_a_padded_one_has() -> None:
    batch = [[1, 2, 3], [4]]
    found = raw.packed(batch)
    assert found["input_ids"].tolist() == [1, 2, 3, 4]
    assert found["rows"].tolist() == [[3, 3], [1, 1]]
    assert {array.dtype for array in found.values()} == {np.dtype(np.int32)}
    found = raw.padded(batch)
    assert found["input_ids"].tolist() == [[1, 2, 3], [4, 0, 0]]
    assert found["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


# -- ours -----------------------------------------------------------------------------------------


def test_a_repository_is_built_only_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ours.Repository(tmp_path)
    found.graph.parent.mkdir(parents=True)
    found.graph.write_bytes(b"")
    monkeypatch.setattr(ours.subprocess, "run", lambda *a, **b: pytest.fail("built"))
    assert ours.repository(tmp_path) == found
    monkeypatch.setattr(
        ours.subprocess, "run", lambda command, **options: subprocess.CompletedProcess(command, 1, "", "no")
    )
    with pytest.raises(SystemExit, match=r"`builder build minilm` failed:\nno"):
        ours.repository(tmp_path / "other")


def test_batches_are_counted_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = 'model="minilm_encoder",version="1"'
    other = 'model="minilm",version="1"'
    looks = iter([(10.0, 10.0), (90.0, 20.0), (90.0, 20.0)])

    def metrics(self: object) -> dict[tuple[str, str], float]:
        done, goes = next(looks)
        return {
            ("nv_inference_count", labels): done,
            ("nv_inference_exec_count", labels): goes,
            ("nv_inference_count", other): 7 * done,
        }

    monkeypatch.setattr(ours.Client, "metrics", metrics)
    batches = ours.Batches("127.0.0.1:1", "minilm_encoder")
    assert batches.mean() == 8.0
    assert batches.mean() is None


def test_an_export_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[list[str]] = []

    def run(command: list[str], **options: Any) -> None:
        made.append(command)
        Path(command[-1]).write_bytes(b"onnx")

    monkeypatch.setattr(stage, "_CACHE", tmp_path / "cache")
    monkeypatch.setattr(stage.subprocess, "run", run)
    monkeypatch.setattr(ours, "source", lambda: tmp_path)
    first, second = (stage.files(ours.Repository(tmp_path)) for _ in range(2))
    assert first == second
    assert Path(first["padded"]).read_bytes() == b"onnx"
    assert len(made) == 1


def test_the_peers_to_run_are_read() -> None:
    assert encoder_cpu._known_peers("litserve,pytriton") == ["litserve", "pytriton"]
    with pytest.raises(argparse.ArgumentTypeError):
        encoder_cpu._known_peers("")
