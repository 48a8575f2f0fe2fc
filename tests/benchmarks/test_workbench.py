"""The pure parts of the benchmarks: statistics, bars, parsing, choosing."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import llm_cpu
import measure_agreement
import pytest
from workbench import (
    aiperf,
    bars,
    chats,
    children,
    contenders,
    deployment,
    environment,
    memory,
    numbers,
    record,
    soaking,
    tournament,
)
from workbench.bars import Bar
from workbench.contenders import Sample, Work
from workbench.soaking import Habits, Holding, Outcome
from workbench.tournament import Row

WORK = Work(8, 4, Path("chats.jsonl"), [[1, 2], [3]])


@dataclass
class Scripted:
    """A contender whose samples are given."""

    rates: list[float]
    name: str = ""
    delay: float = 10.0
    asked: list[str] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        return {"name": self.name}

    def sample(self, work: Work) -> Sample:
        self.asked.append(self.name)
        return Sample(self.rates.pop(0) if len(self.rates) > 1 else self.rates[0], self.delay)


def work(level: int) -> Work:
    return Work(level, 4, Path(), [[1]] * level)


def played(name: str, kind: str, rates: list[float], same: bool = False, delay: float = 10.0) -> Row:
    samples = {repeat: Sample(rate, delay) for repeat, rate in enumerate(rates)}
    best = Scripted([0.0])
    return Row(name, kind, [best], same, best={1: best}, samples={1: samples, 8: samples, 16: samples})


# -- numbers --------------------------------------------------------------------------------------


def test_pairs_are_compared_before_the_median_is_taken() -> None:
    # the machine was three times slower in the second run, for both
    ours, theirs = {0: 90, 1: 30, 2: 95}, {0: 100, 1: 33, 2: 100}
    assert numbers.paired_ratio(ours, theirs) == pytest.approx(30 / 33)
    assert numbers.paired_difference({0: 12, 1: 40, 2: 13}, {0: 10, 1: 30, 2: 12}) == 2


def test_runs_without_a_partner_do_not_count() -> None:
    assert numbers.paired_ratio({0: 9, 1: 1, 2: 1}, {0: 10, 7: 100}) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="no run of one stood next to a run of the other"):
        numbers.paired_ratio({0: 1}, {1: 1})


def test_the_slope_is_not_moved_by_a_few_wild_points() -> None:
    times = list(range(100))
    values = [5.0 + 2 * time for time in times]
    values[10], values[50] = 10_000, -10_000
    assert numbers.slope(times, values) == pytest.approx(2, abs=0.01)


def test_long_series_are_thinned_not_cut() -> None:
    times = list(range(5000))
    assert numbers.slope(times, [3 * time for time in times]) == pytest.approx(3)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_short_series_have_no_growth(count: int) -> None:
    found = numbers.growth(list(range(count)), [7.0] * count)
    assert found == {"by_slope": 0.0, "start_to_end": 0.0}


def test_growth_forgets_the_warm_up() -> None:
    values = [float(min(time, 40)) for time in range(100)]
    assert numbers.growth(list(range(100)), values) == {"by_slope": 0.0, "start_to_end": 0.0}


def test_growth_sees_a_leak() -> None:
    found = numbers.growth(list(range(100)), [100 + 0.5 * time for time in range(100)])
    assert found["by_slope"] == pytest.approx(24.5)
    assert found["start_to_end"] == pytest.approx(0.5 * 34)


# -- bars -----------------------------------------------------------------------------------------


def test_missed_bars_say_what_was_found() -> None:
    rules = (Bar("ratio", ">=", 0.9), Bar("ratio", "<=", 1.03, "raw was not tuned"), Bar("errors", "==", 0))
    assert bars.missed(rules, {"ratio": 0.95, "errors": 0}) == []
    assert bars.missed(rules, {"ratio": 1.2, "errors": 0}) == ["ratio <= 1.03: it is 1.2 (raw was not tuned)"]


def test_what_was_not_measured_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    assert bars.tell((Bar("ratio", ">=", 0.9),), {}) == 1
    assert capsys.readouterr().out == "MISSED ratio >= 0.9: not measured\n"
    assert bars.tell((), {}) == 0


# -- the tournament -------------------------------------------------------------------------------


def test_the_sweep_takes_the_fastest_of_all_tries() -> None:
    slow, fast = Scripted([60, 50, 60], "slow"), Scripted([50, 70, 50], "fast")
    row = Row("peer", "raw", [slow, fast], same_artifact=False)
    tournament.sweep([row], (8,), work, tries=3)
    assert row.best == {8: fast}


def test_a_hopeless_setting_is_tried_once() -> None:
    asked: list[str] = []
    rates = {"slow": [10.0, 99.0], "close": [90.0, 101.0], "fast": [100.0, 95.0]}
    tried = [Scripted(list(given), name, asked=asked) for name, given in rates.items()]
    assert tournament.fastest(tried, work(1), tries=2) is tried[1]
    assert asked == ["slow", "close", "fast", "close", "fast"]


def test_a_batch_is_divided_only_where_it_is_large() -> None:
    whole, halves = Scripted([10.0], "whole"), Scripted([20.0], "halves")
    halves.share = 2  # type: ignore[attr-defined]
    row = Row("peer", "raw", [halves, whole], same_artifact=False)
    tournament.sweep([row], (1, 8), work, tries=1)
    assert row.best == {1: whole, 8: halves}


def test_rows_run_in_turn_and_back() -> None:
    asked: list[str] = []
    rows = [Row(name, "raw", [Scripted([1.0], name, asked=asked)], False) for name in "abc"]
    tournament.sweep(rows, (1,), work, tries=0)
    asked.clear()
    tournament.play(rows, {1: 2}, work)
    assert "".join(asked) == "abccba"
    assert all(list(row.samples[1]) == [0, 1] for row in rows)


@pytest.mark.parametrize(("times", "turns"), [(1, [0]), (2, [0, 1]), (6, [0, 2, 4]), (11, [0, 3, 6])])
def test_a_row_beyond_doubt_plays_seldom(times: int, turns: list[int]) -> None:
    rows = [Row("ours", "served", [Scripted([1.0])], True), Row("peer", "raw", [Scripted([1.0])], False)]
    rows[1].seldom = True
    tournament.sweep(rows, (1, 8), work, tries=0)
    tournament.play(rows, {1: times, 8: 1}, work)
    assert [list(row.samples[1]) for row in rows] == [list(range(times)), turns]
    assert [list(row.samples[8]) for row in rows] == [[0], [0]]


def test_a_row_becomes_plain_data() -> None:
    found = played("peer", "raw", [10.0, 30.0, 20.0]).to_json(1)
    assert (found["tokens_per_second"], found["ttft_ms"]) == (20.0, 10.0)
    assert len(json.loads(json.dumps(found))["samples"]) == 3


def test_figures_compare_with_the_best_of_each_kind() -> None:
    rows = [
        played("builder", "served", [90.0, 45.0], same=True, delay=30),
        played("onnxruntime", "raw", [100.0, 50.0], same=True, delay=20),
        played("onnxruntime_genai", "raw", [60.0, 30.0], same=True, delay=25),
        # faster, but another artifact: no limit of ours
        played("openvino_genai", "raw", [300.0, 300.0]),
        played("llama_cpp", "served", [75.0, 37.5]),
        played("transformers", "served", [9.0, 9.0]),
    ]
    figures = llm_cpu.figures_of(rows)
    assert figures == {
        **{f"served_over_raw_c{level}": pytest.approx(0.9) for level in (1, 8, 16)},
        **{f"served_over_best_peer_c{level}": pytest.approx(1.2) for level in (1, 16)},
        "ttft_added_ms_c1": 10,
    }


def test_without_peers_their_figures_are_missing() -> None:
    assert llm_cpu.figures_of([played("builder", "served", [9.0], same=True)]) == {}


# -- chats ----------------------------------------------------------------------------------------


def test_the_prompts_are_many_and_distinct() -> None:
    found = chats.read()
    assert len(found) >= 64
    assert len({json.dumps(chat) for chat in found}) == len(found)
    assert all(chat[-1]["role"] == "user" for chat in found)


@pytest.mark.parametrize("count", [2, 16, 64])
def test_any_number_of_chats_is_spread_over_all(count: int) -> None:
    every = chats.read()
    found = chats.spread(every, count)
    places = [every.index(chat) for chat in found]
    assert places == sorted(set(places))
    assert places[-1] >= len(every) - len(every) // count


# -- contenders -----------------------------------------------------------------------------------


class Answering:
    """A peer that answers whatever it is asked."""

    name = "scripted"

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens
        self.jobs: list[dict[str, Any]] = []

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        self.jobs.append(job)
        return {"tokens": self._tokens, "seconds": 2.0, "ttft_ms": 7.0, "ids": []}


def test_raw_batches_share_the_concurrency() -> None:
    peer = Answering(8)
    warm_up = {"prompts": [[1, 2], [3]], "tokens": 4, "batch": 1}
    found = contenders.Raw(peer, {"threads": 2}, share=2).sample(WORK)  # type: ignore[arg-type]
    assert (found.tokens_per_second, found.ttft_ms) == (4.0, 7.0)
    assert peer.jobs == [warm_up, {**warm_up, "batch": 4}]


def test_too_few_tokens_end_the_script() -> None:
    with pytest.raises(SystemExit, match="generated 7 tokens, 8 were asked for"):
        contenders.Raw(Answering(7), {}).sample(WORK)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("run", "complaint"),
    [
        ({"errors": 1, "error_messages": {"no": 1}}, "1 errors"),
        ({"errors": 0, "output_tokens": {"mean": 2.0}}, "generated 2.0 tokens an answer, 4 were asked"),
    ],
)
def test_a_served_row_must_have_answered(
    run: dict[str, Any], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "measure", lambda *options: {"runs": [run]})
    with pytest.raises(SystemExit, match=complaint):
        contenders.Served("ours", list, {}).sample(WORK)


# -- children -------------------------------------------------------------------------------------


def test_a_peer_that_cannot_load_says_why(tmp_path: Path) -> None:
    peer = children.Peer(Path(sys.executable), "raw", "nobody", {}, tmp_path / "log")
    with peer, pytest.raises(children.PeerFailed, match=r"No module named 'peers\.nobody'"):
        peer.hello()


# -- memory and deployment ------------------------------------------------------------------------


def test_rollup_is_read_in_bytes() -> None:
    head = "00400000-7ffd000 ---p 00000000 00:00 0   [rollup]"
    text = f"{head}\nRss:     2048 kB\nPss:      512 kB\nPss_Dirty: 4 kB\n"
    assert memory.rollup(text) == {"Rss": 2 * 2**20, "Pss": 2**19, "Pss_Dirty": 4096}


def test_memory_counts_the_descendants() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in memory.family(os.getpid())
        found = memory.megabytes(child.pid)
        assert 0 < found["pss"] <= found["rss"]
        child.communicate(b"\n")
    assert memory.family(child.pid) == []


def test_weights_are_all_files_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "model.onnx").write_bytes(b"1" * 2**19)
    (tmp_path / "deep" / "data").write_bytes(b"1" * 2**19)
    assert memory.weights_megabytes(tmp_path) == 1


def test_the_ready_line_is_that_of_serve() -> None:
    line = "READY  http://127.0.0.1:1  grpc://127.0.0.1:2  metrics http://127.0.0.1:3/metrics"
    assert deployment.read_ready(line) == ("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")
    assert deployment.read_ready("booting") is None


def test_every_peer_is_pinned() -> None:
    folder = children.BENCHMARKS
    constraints = (folder.parent / "scripts" / "constraints.txt").read_text()
    for line in (folder / "requirements.txt").read_text().splitlines():
        if line and not line.startswith(("#", "--")):
            assert "==" in line or f"\n{line}==" in constraints


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = tmp_path / "benchmarks" / "requirements.txt"
    requirements.parent.mkdir()
    requirements.write_text("")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "constraints.txt").write_text("")
    runs: list[list[str]] = []
    monkeypatch.setattr(environment.venv, "create", lambda folder, **options: folder.mkdir(exist_ok=True))
    monkeypatch.setattr(environment.subprocess, "run", lambda command, **options: runs.append(command))
    for _ in range(2):
        environment.ensure(tmp_path / "env", requirements)
    assert len(runs) == 1
    requirements.write_text("aiperf==0.13.0")
    environment.ensure(tmp_path / "env", requirements)
    assert len(runs) == 2


# -- records --------------------------------------------------------------------------------------


def test_a_record_has_what_the_design_asks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = argparse.Namespace(output=tmp_path / "new" / "soak.json", quick=True)
    record.write("soak", {"errors": 0.0}, [{"row": 1}], arguments, settings={"a": 1})
    found = json.loads((tmp_path / "new" / "soak.json").read_text())
    assert {"figures", "rows", "machine", "versions", "command", "date", "settings"} == set(found)
    record.print_figures({"ratio": 0.912345})
    assert capsys.readouterr().out == "figure ratio 0.9123\n"


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", ""])
def test_counts_are_counts(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no count"):
        record.positive(text)


def test_a_peer_that_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["llm_cpu.py", "--peers", "onnxruntime,nosuch"])
    with pytest.raises(SystemExit):
        llm_cpu.main()
    assert "no peer is named nosuch; there are onnxruntime," in capsys.readouterr().err


# -- the soak -------------------------------------------------------------------------------------


def test_a_quick_run_leaves_the_record_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "FOLDER", tmp_path)
    record.write("soak", {}, [], argparse.Namespace(output=None, quick=True))
    assert list(tmp_path.iterdir()) == []
    record.write("soak", {}, [], argparse.Namespace(output=None, quick=False))
    assert [path.name for path in tmp_path.iterdir()] == ["soak.json"]


def test_visits_repeat_with_their_seed() -> None:
    habits = Habits(500, 4, 0.2, 32, seed=1)
    found = soaking.visits(habits)
    assert found == soaking.visits(habits)
    leaving = [visit for visit in found if visit.leaves_after]
    assert 0.1 < len(leaving) / len(found) < 0.3
    assert all(1 <= visit.leaves_after <= 32 for visit in leaving)
    # so that nobody leaves an answer that is over
    assert {visit.tokens - visit.leaves_after for visit in leaving} == {habits.left_behind}


def holding(seconds: float, pss: float) -> Holding:
    return Holding(seconds, int(seconds), pss, pss, 1.0, 0, 0)


@pytest.mark.parametrize(("leak", "missed"), [(0.0, False), (1.0, True)])
def test_a_soak_sees_a_leak(leak: float, missed: bool) -> None:
    import soak

    samples = [holding(second, 400 + leak * second) for second in range(100)]
    outcome = Outcome(done=100, cancelled=20, tokens=1000, samples=samples)
    figures = soaking.figures_of(outcome, 10.0)
    idle = {"active_at_end": 0, "waiting_at_end": 0, "cancelled_uncounted": 0}
    assert bool(bars.missed(soak.BARS, figures | idle)) == missed


# -- agreement ------------------------------------------------------------------------------------


def test_an_export_of_aiperf_is_read() -> None:
    export = {
        "request_count": {"avg": 12.0},
        "request_throughput": {"avg": 2.0},
        "output_token_throughput": {"avg": 48.0},
        "time_to_first_token": {"p50": 90.0},
        "request_latency": {"p50": 400.0},
        "error_summary": [],
    }
    assert aiperf.read(json.dumps(export), 12) == aiperf.Found(2.0, 48.0, 90.0, 400.0)
    with pytest.raises(SystemExit):
        aiperf.read(json.dumps(export), 13)


def test_clients_are_compared_run_by_run() -> None:
    figures = dict.fromkeys(measure_agreement.NAMES, 1.0)
    clients = ("builder measure", "aiperf", "aiperf", "builder measure")
    rows = [
        {"model": "paced", "repeat": place // 2, "client": client, **figures, "ttft_p50": ttft}
        for place, (client, ttft) in enumerate(zip(clients, (9.0, 10.0, 20.0, 18.0), strict=True))
    ]
    found = measure_agreement._ratios(rows, "paced", "")
    assert found["ttft_p50_ratio"] == 0.9
    assert measure_agreement._ratios(rows, "smollm2", "smollm2_") == {}
    assert {bar.figure for bar in measure_agreement.BARS} == set(found)
