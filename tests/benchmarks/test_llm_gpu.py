"""The parts of benchmarks/llm_gpu.py that need no GPU: loads, commands, comparing, merging, figures."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from llm import (
    answers,
    asking,
    ceiling,
    checks,
    contests,
    figures,
    keeping,
    looping,
    merging,
    models,
    plots,
    prompts,
    racing,
    random_llama,
    raw,
    trials,
    vllm_serve,
    watching,
)
from llm.libraries import Arrived
from llm.models import RANDOM_8B, SMOLLM2, Built
from llm.parts import PARTS, Part
from llm.stage import Stage
from llm.trials import BATCH, CLOSED, Trial
from tokenizers import AddedToken, Tokenizer, pre_tokenizers
from tokenizers import models as tokenizer_models
from workbench import bars, chats, deployment, soaking
from workbench.bars import Bar
from workbench.soaking import Outcome, Visit

from builder.measuring import told
from builder.measuring.door import Answer
from builder.measuring.task import Asking
from builder.measuring.told import Asked, Told

# -- parts and commands ---------------------------------------------------------------------------


def test_parts_have_names_of_their_own_and_follow_what_they_need() -> None:
    names = [part.name for part in PARTS]
    assert len(set(names)) == len(names)
    for place, part in enumerate(PARTS):
        assert set(part.needs) <= set(names[:place]), part.name
    assert {"8b-raw", "8b-serve", "8b-prefix", "smollm2-raw", "smollm2-soak", "ceiling"} <= set(names)


def test_every_figure_of_a_bar_comes_from_a_part() -> None:
    named = {bar.figure for bar in figures.BARS}
    assert len(named) == len(figures.BARS)
    assert named <= set(figures.of(list(run_of_everything()))) | SOAKED


def test_what_is_built_for_a_gpu(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    line = models.command(stage, models.where(stage, RANDOM_8B), "vllm")
    options = dict(zip(line[2::2], line[3::2], strict=False))
    assert line[:2] == ["build", "8b"]
    assert options["--target"] == "vllm" and options["--gpu"] == "h200"
    assert options["--concurrency"] == "256" and options["--max-context"] == "1280"
    assert options["--set"] == "engine.gpu_memory_utilization=0.3"
    assert options["--checkpoint"] == str(tmp_path / "checkpoints" / "8b")


def test_what_is_built_to_rehearse(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "onnx", None)
    line = models.command(stage, models.where(stage, SMOLLM2), "onnx")
    assert "--gpu" not in line and "--set" not in line and "--checkpoint" not in line


def test_other_engines_are_not_planned_for_the_race(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    line = models.command(stage, models.where(stage, SMOLLM2, "onnx"), "onnx")
    assert line[line.index("--concurrency") + 1] == "32"


def test_a_part_says_what_must_be_built_before(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="run --part build-8b before"):
        models.built(Stage(tmp_path), RANDOM_8B)


def test_without_vllm_a_part_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"vllm is not installed.*--rehearse"):
        Stage(tmp_path).require_engine()
    Stage(tmp_path, "onnx", None).require_engine()


@pytest.fixture
def repository(tmp_path: Path) -> Built:
    built = Built(SMOLLM2, tmp_path / "repository")
    built.folder.mkdir(parents=True)
    arguments = {
        "scheduling_policy": "priority",
        "max_num_seqs": 256,
        "enable_prefix_caching": True,
        "enforce_eager": False,
    }
    settings = {"engine": "vllm", "engine_arguments": {**arguments, "compilation_config": {"mode": 3}}}
    (built.folder / "settings.json").write_text(json.dumps(settings))
    return built


def test_vllm_serve_is_told_what_the_repository_tells_its_engine(repository: Built) -> None:
    line = vllm_serve.command(repository, 8123, vllm_serve.VARIANTS["vllm_serve_wide"])
    assert line[1:4] == ["-m", "vllm.entrypoints.cli.main", "serve"]
    text = " ".join(line)
    for wanted in (
        f"--tokenizer {repository.tokenizer}",
        "--served-model-name smollm2",
        "--port 8123",
        "--max-num-seqs 256",
        "--enable-prefix-caching",
        "--no-enforce-eager",
        '--compilation-config {"mode": 3}',
        "--no-enable-log-requests",
        "--api-server-count 4",
    ):
        assert wanted in text
    assert "--scheduling-policy" not in text
    assert "--api-server-count" not in vllm_serve.command(repository, 1, vllm_serve.VARIANTS["vllm_serve"])


def test_a_server_that_does_not_start_says_why(repository: Built, tmp_path: Path) -> None:
    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed here, and would start")
    said = pytest.raises(SystemExit, match=r"vllm_serve did not start:\n(.|\n)*No module named 'vllm'")
    with vllm_serve.Server(Stage(tmp_path), repository, vllm_serve.VARIANTS["vllm_serve"]) as server, said:
        server.wait()


def test_vllm_serve_is_asked_for_as_many_tokens_as_ours() -> None:
    asked = asking.openai("http://127.0.0.1:8123", "8b", 256)
    assert asked.address == "http://127.0.0.1:8123/v1/chat/completions" and asked.model == "8b"
    assert asked.fields["max_tokens"] == 256 and asked.fields["ignore_eos"] is True
    assert asked.fields["temperature"] == 0


# -- loads ----------------------------------------------------------------------------------------


@dataclass
class Scripted:
    """A library whose answers come a token a step; it notes how many were under way at once."""

    running: dict[str, int] = field(default_factory=dict)
    most: int = 0
    asked: list[Sequence[int]] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    forgot: int = 0

    def generate(self, asked: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
        return [[ids[0]] * tokens for ids in asked]

    def add(self, key: str, ids: Sequence[int], tokens: int) -> None:
        self.asked.append(ids)
        # answers of different lengths, so that they do not end together
        self.running[key] = tokens + len(self.asked) % 2
        self.most = max(self.most, len(self.running))

    def step(self) -> Arrived:
        for key in list(self.running):
            self.running[key] -= 1
            ended = not self.running[key]
            if ended:
                del self.running[key]
            yield key, [7], ended

    def abort(self, keys: Sequence[str]) -> None:
        self.aborted += keys

    def forget(self) -> None:
        self.forgot += 1

    def close(self) -> None: ...


def test_a_loop_keeps_the_load_up_until_the_last_that_counts_has_ended() -> None:
    library = Scripted()
    heard = looping.run(library, [[1], [2]], tokens=3, level=4, requests=6)
    assert library.most == 4
    measured = [asked for asked in heard.requests if asked.measured]
    assert len(measured) == 6 and all(sum(asked.answer.tokens) in (3, 4) for asked in measured)
    assert len(heard.requests) > 6
    assert sorted(library.asked)[0] == [1] and sorted(library.asked)[-1] == [2]
    # what only kept the load up is ended
    unfinished = [key for key, asked in enumerate(heard.requests) if sum(asked.answer.tokens) < 3]
    assert {int(key) for key in library.aborted} >= set(unfinished)
    assert heard.started <= measured[0].sent and measured[-1].last is not None
    assert measured[-1].last <= heard.ended


def test_requests_that_come_one_after_the_other_join_those_that_are_answered() -> None:
    library = Scripted()
    prompts = [[number] for number in range(10)]
    job = {"do": "arriving", "prompts": prompts, "tokens": 3, "at_a_step": 2}
    found = raw.answer(library, job)["ids"]
    # answers of 3 or 4 tokens, two more at every step: six or seven of ten are under way at the most
    assert [len(ids) for ids in found] == [4, 3] * 5
    assert 6 <= library.most <= 7 and library.asked == prompts and not library.running


def test_a_raw_engine_does_as_it_is_told() -> None:
    library = Scripted()
    found = raw.answer(library, {"do": "generate", "prompts": [[[1], [2]], [[3]]], "tokens": 2})
    assert found["ids"] == [[1, 1], [2, 2], [3, 3]] and len(found["seconds"]) == 2
    assert raw.answer(library, {"do": "forget"}) == {} and library.forgot == 1
    job = {"do": "loop", "prompts": [[1]], "tokens": 2, "level": 2, "requests": 2}
    heard = told.from_json(raw.answer(library, job))
    assert sum(asked.measured for asked in heard.requests) == 2


def heard(measured: bool, *arrived: tuple[float, float]) -> Asked:
    answer = Answer([at for at, _ in arrived], [count for _, count in arrived], input_tokens=9)
    return Asked(0.0, measured, 0.0, arrived[-1][0], "", answer)


def test_a_sample_by_hand() -> None:
    heard_of_all = Told(
        0.0,
        2.0,
        "",
        0.25,
        (heard(True, (0.5, 1), (1.0, 3)), heard(True, (0.6, 2), (1.0, 2)), heard(False, (1.5, 4), (2.5, 4))),
    )
    found = asking.sample_of(heard_of_all, Trial(2, CLOSED, 2, tokens=4))
    # eight of the measured ones, and four of the other's that came before the end
    assert found["tokens_per_second"] == 6
    assert found["responses_per_second"] == 2.5
    assert found["tokens_per_response"] == 2
    assert found["ttft_ms"]["p50"] == 500 and found["generator_cpu_share"] == 0.25
    with pytest.raises(asking.Failed, match="256 were asked for"):
        asking.sample_of(heard_of_all, Trial(2, CLOSED, 2))


def test_a_batch_lasts_until_its_last_token() -> None:
    parts = [Told(0.0, 2.0, "", 0.1, (heard(True, (1, 1)),)), Told(0.1, 3.0, "", 0.2, (heard(True, (2, 1)),))]
    batch, closed = asking.joined(parts, BATCH), asking.joined(parts, CLOSED)
    assert (batch.started, batch.ended) == (0.0, 2)
    assert (closed.started, closed.ended) == (0.1, 2.0)
    assert len(batch.requests) == 2 and batch.cpu_share == 0.2


def test_a_rehearsal_is_small_and_has_every_kind() -> None:
    every = (*trials.CLOSED_TRIALS, *trials.RAW_TRIALS, *trials.PREFIX_TRIALS)
    small = trials.rehearsed(every)
    assert max(trial.requests for trial in small) <= 4
    assert {(one.shape, one.prompts) for one in small} == {(one.shape, one.prompts) for one in every}
    assert len({(one.level, one.shape, one.prompts) for one in small}) == len(small)


@pytest.fixture(scope="module")
def encoding(tmp_path_factory: pytest.TempPathFactory) -> prompts.Encoding:
    folder = tmp_path_factory.mktemp("tokenizer")
    words = {word for chat in chats.read() for message in chat for word in message["content"].split()}
    vocabulary = {word: number for number, word in enumerate(["?", "<s>", "</s>", *sorted(words)])}
    made = Tokenizer(tokenizer_models.WordLevel(vocabulary, "?"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    template = "{% for message in messages %}<s>{{ message['content'] }}</s>{% endfor %}<s>"
    (folder / "chat_template.jinja").write_text(template)
    return prompts.Encoding(folder)


def test_long_prompts_share_what_they_should(encoding: prompts.Encoding) -> None:
    same = [encoding.ids(chat) for chat in encoding.long(3, 100, 90, "seed")]
    assert {len(ids) for ids in same} == {100}
    assert len({tuple(ids[:90]) for ids in same}) == 1
    assert len({tuple(ids) for ids in same}) == 3
    # what warms a prefix up has the same one, and nothing else
    warm = [encoding.ids(chat) for chat in encoding.long(2, 100, 90, "seed")]
    assert warm[0][:90] == same[0][:90] and warm[0] not in same
    apart = [encoding.ids(chat) for chat in encoding.long(3, 100, 0, "seed")]
    assert len({tuple(ids[:20]) for ids in apart}) == 3


def test_raw_prompts_are_marked_like_those_of_the_generator(encoding: prompts.Encoding) -> None:
    one, other = encoding.marked(70, "salt", "a"), encoding.marked(70, "salt", "b")
    assert len(one) == 70 and one == encoding.marked(70, "salt", "a")
    assert [len(ids) for ids in one] == [len(ids) for ids in other]


# -- rounds ---------------------------------------------------------------------------------------


class Player:
    """A contender whose samples are given."""

    pid = 1

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name, self._calls = name, calls

    def warm(self, trial: Trial, repeat: int) -> None:
        self._calls.append(f"warm {self.name}")

    def sample(self, trial: Trial, repeat: int) -> dict[str, Any]:
        self._calls.append(f"{self.name} {trial.level} {repeat}")
        return {"tokens_per_second": 10.0}


def test_rounds_go_on_while_there_is_time_every_other_one_backwards() -> None:
    calls: list[str] = []
    kept: list[int] = []
    some = (Trial(1, CLOSED, 1), Trial(8, CLOSED, 8))
    players = [(Player("a", calls), some), (Player("b", calls), some)]
    stage = Stage(Path(), deadline=math.inf)
    rows = racing.race(stage, players, lambda rows: kept.append(len(rows[0].samples)))
    assert kept == list(range(1, racing.MOST_ROUNDS + 1))
    asked = [call for call in calls if not call.startswith("warm")]
    assert asked[:8] == ["a 1 0", "b 1 0", "a 8 0", "b 8 0", "b 8 1", "a 8 1", "b 1 1", "a 1 1"]
    assert [sample["repeat"] for sample in rows[0].samples] == list(range(racing.MOST_ROUNDS))
    assert calls[:2] == ["warm a", "a 1 0"]


class Failing(Player):
    """Fails in its second round, and is interrupted in a third if it gets there."""

    def sample(self, trial: Trial, repeat: int) -> dict[str, Any]:
        if repeat == 1:
            raise asking.Failed("it stopped answering")
        assert repeat == 0, "it was asked again"
        return super().sample(trial, repeat)


def test_who_fails_keeps_its_samples_and_the_others_go_on() -> None:
    some = (Trial(1, CLOSED, 1),)
    players = [(Failing("a", []), some), (Player("b", []), some)]
    failing, other = racing.race(Stage(Path()), players, lambda rows: None)
    assert failing.failure == "it stopped answering" and len(failing.samples) == 1
    assert not other.failure and len(other.samples) == racing.MOST_ROUNDS
    assert failing.to_json("8b")["failure"] == "it stopped answering"


def test_what_was_found_before_an_interruption_is_kept() -> None:
    class Interrupted(Player):
        def sample(self, trial: Trial, repeat: int) -> dict[str, Any]:
            raise SystemExit(143)

    some = (Trial(1, CLOSED, 1),)
    kept: list[int] = []
    players = [(Player("a", []), some), (Interrupted("b", []), some)]
    with pytest.raises(SystemExit):
        racing.race(Stage(Path()), players, lambda rows: kept.append(len(rows[0].samples)))
    assert kept == [1]


def test_a_round_begins_only_if_it_fits() -> None:
    assert racing.fits(100, 150)
    assert not racing.fits(100, 140)
    over = Stage(Path(), deadline=time.monotonic())
    players = [(Player("a", []), (Trial(1, CLOSED, 1),))]
    assert len(racing.race(over, players, lambda rows: None)[0].samples) == 1


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("/x/triton_python_backend_stub /tmp/r/smollm2/1/model.py triton_shm 1048576", "stub smollm2"),
        ("python3 -P -m backends.engine.host vllm /tmp/r/smollm2/1 14", "engine host"),
        ("VLLM::EngineCore", "engine core"),
        ("VLLM::APIServer_2", "api server"),
        ("/x/bin/tritonserver --model-repository=/tmp/r", "tritonserver"),
        ("python -m builder serve /tmp/r", "builder serve"),
        ("python -m llm.raw vllm {}", "raw"),
        ("sleep 1", "other"),
    ],
)
def test_processes_are_known_by_their_command_lines(command: str, kind: str) -> None:
    assert watching.kind(command) == kind


# -- answers --------------------------------------------------------------------------------------


def test_ids_are_compared_one_by_one() -> None:
    found = answers.compared([[1, 2, 3], [4, 5, 6], [7, 8]], [[1, 2, 3], [4, 9, 6], [7, 8, 9]])
    assert found["equal"] == 1 and found["answers"] == 3
    assert found["first_differences"] == [1, 2]
    assert found["tokens_before_difference"] == round((3 + 1 + 2) / 9, 4)


def test_scores_are_compared_by_hand() -> None:
    found = answers.differences([[-1.0, -2.0], [-3.0]], [[-1.5, -1.5], [-3.2]])
    assert found["tokens"] == 3 and found["mean"] == pytest.approx(0.4)
    # of the first prompt one is too high by what the other is too low
    assert found["worst"] == 0.5 and found["worst_prompt"] == pytest.approx(0.2)
    assert found["of_all"] == pytest.approx(0.2 / 3, abs=1e-5)


def test_the_share_of_a_prefix_cache() -> None:
    before = {contests.QUERIED: 100.0, contests.FOUND: 50.0}
    assert contests.hit_share(before, {contests.QUERIED: 1100.0, contests.FOUND: 950.0}) == 0.9
    assert contests.hit_share(before, before) is None


@pytest.mark.parametrize("door", ["grpc", "http"])
def test_the_ceiling_speaks_as_our_front_does(door: str) -> None:
    asked = Asking(door, "127.0.0.1:1", "m", {}, {"messages": "BYTES"}, ceiling._OUTPUTS, batched=True)

    async def read() -> Answer:
        opened = importlib.import_module(f"builder.measuring.doors.{door}").create(asked)
        chunks = ceiling.grpc_messages() if door == "grpc" else list(bodies(ceiling.http_events()))
        try:
            return opened.read([(float(at), chunk) for at, chunk in enumerate(chunks)])
        finally:
            await opened.close()

    answer = asyncio.run(read())
    assert answer.tokens == [1] * ceiling.TOKENS and not answer.error
    assert answer.input_tokens == 40


def bodies(chunks: list[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        size, _, rest = chunk.partition(b"\r\n")
        assert rest.endswith(b"\r\n") and len(rest) == int(size, 16) + 2
        yield rest[:-2]


def test_visitors_over_http_count_and_hang_up() -> None:
    from aiohttp import web

    sent: list[int] = []

    async def stream(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(1, asked["max_tokens"] + 1):
            event = {"num_output_tokens": number, "text_output": "a"}
            await response.write(f"data: {json.dumps(event)}\n\n".encode())
            sent.append(number)
            await asyncio.sleep(0.001 if number < 9 else 60)
        return response

    async def visits() -> Outcome:
        outcome = Outcome()
        application = web.Application()
        application.router.add_post(f"/v2/models/{deployment.NAME}/generate_stream", stream)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address = f"127.0.0.1:{runner.addresses[0][1]}"
        served = deployment.Deployment(Path(), address, "", "", 0, 0.0)
        async with soaking._session() as session:
            for visit in (Visit("[]", 5, 0, 0.0, True), Visit("[]", 40, 4, 0.0, True)):
                await soaking._visit(soaking._over_http(session, served, visit), visit, outcome)
        await runner.cleanup()
        return outcome

    outcome = asyncio.run(visits())
    assert (outcome.done, outcome.cancelled, outcome.wrong_lengths) == (2, 1, 0), outcome.errors
    assert not outcome.errors and max(sent) < 40


# -- records --------------------------------------------------------------------------------------


def row(
    name: str, level: int, rates: Sequence[float], shape: str = CLOSED, kind: str = "chats", **more: Any
) -> dict[str, Any]:
    samples = [
        {
            "repeat": repeat,
            "tokens_per_second": rate,
            "ttft_ms": {"p50": 1000 / rate, "p99": 2000 / rate},
            "itl_ms": {"p50": 100 / rate, "p95": 200 / rate, "p99": 300 / rate},
            "tokens_per_response": 1.0,
            "responses_per_second": rate,
            "generator_cpu_share": 0.2,
            "cores": {"engine core": 0.5 + repeat},
            **more,
        }
        for repeat, rate in enumerate(rates)
    ]
    head = {"model": "8b", "row": name, "shape": shape, "concurrency": level, "prompts": kind}
    return {**head, "requests": 1, "tokens": 256, "gpu_mb": 1000.0, "samples": samples}


def record_of(name: str, rows: Sequence[dict[str, Any]] = (), **found: Any) -> dict[str, Any]:
    head = {"schema": keeping.SCHEMA, "part": name, "complete": True, "target": "vllm", "seconds": 1.0}
    place = {"machine": {"gpu": "H200"}, "versions": {"vllm": "0.22.0"}, "command": "c", "date": "2026-11-22"}
    return {**head, **place, "rows": list(rows), **found}


SOAKED = {
    f"soak_{name}"
    for name in (
        *("chats", "errors", "wrong_lengths", "active_at_end", "waiting_at_end", "cache_used_at_end"),
        *(
            "cache_used_by_one",
            "cancelled_uncounted",
            "memory_growth_mb",
            "memory_growth_share",
            "shared_memory_growth_mb",
        ),
    )
}


def checked() -> dict[str, Any]:
    same = {"share": 1.0}
    scored = {"mean": 0.002, "worst_prompt": 0.001, "of_all": 0.001}
    return {
        "ids": {
            "alone": same,
            "together": {"share": 0.9},
            "raw_together": {"share": 0.8},
            "raw_arriving": {"share": 0.7},
        },
        "scores": {"bfloat16": scored, "float32": scored, "transformers": scored},
        "verify": {"counts": {"passed": 92, "failed": 0, "skipped": 1}},
    }


def run_of_everything() -> Iterator[dict[str, Any]]:
    for model in ("smollm2", "8b"):
        raced = [row("grpc", level, [90.0]) for level in (1, 8, 32, 256)]
        raced += [row("raw", level, [100.0]) for level in (1, 8, 32, 256)]
        yield record_of(f"{model}-raw", raced)
        yield record_of(
            f"{model}-serve", [*raced[:4], row("vllm_serve", 32, [80]), row("vllm_serve", 256, [80])]
        )
        yield record_of(f"{model}-checks", **checked())
    yield record_of("smollm2-onnx", verify=checked()["verify"])
    long = [
        row("grpc", 64, [90.0], kind="shared", prefix_hit_share=0.89),
        row("grpc", 64, [30.0], kind="distinct"),
    ]
    yield record_of("8b-prefix", long)
    yield record_of("ceiling", [row("grpc", 256, [900.0]), row("http", 256, [800.0])])


def test_the_strictest_of_raws_loads_counts() -> None:
    rows = [
        # paired by repeat: 0.9, 0.8, 0.7
        row("grpc", 256, [90, 80, 70]),
        row("raw", 256, [100, 100, 100]),
        row("grpc", 256, [60, 60, 60], BATCH),
        row("raw", 256, [100, 120, 100], BATCH),
        row("grpc", 1, [50, 50, 50]),
        row("raw", 1, [100, 50, 50]),
        row("raw", 1, [40, 40, 40], BATCH, ttft_ms={"p50": 15.0}, itl_ms=None),
    ]
    found = figures.of([record_of("8b-raw", rows)])
    assert found["served_over_raw_8b_c256"] == 0.6
    assert found["served_over_raw_8b_c1"] == 1.0
    # ours has its first token after 20 ms; raw after 10, 20, 20 in a loop and after 15 by itself
    assert found["ttft_added_ms_8b_c1"] == 5.0
    assert found["itl_over_raw_8b_c1"] == 1.0
    assert found["tokens_per_response_p50_c256"] == 1.0


def test_we_are_held_against_the_best_that_vllm_documents() -> None:
    grpc = row("grpc", 256, [100, 100, 100])
    parts = [
        record_of("8b-serve", [grpc, row("vllm_serve", 256, [80, 80, 80])]),
        record_of("8b-serve-wide", [grpc, row("vllm_serve_wide", 256, [125, 125, 125])]),
        record_of("8b-serve-rust", [grpc, row("vllm_serve_rust", 256, [200, 200, 200])]),
    ]
    found = figures.of(parts)
    assert found["served_over_vllm_serve_8b_c256"] == 0.8
    assert found["served_over_vllm_serve_rust_8b_c256"] == 0.5
    assert found["itl_p95_over_vllm_serve_8b_c256"] == pytest.approx(1.25)


def test_the_variants_own_figures_are_kept_beside_the_best() -> None:
    # the plain server's own ratio has the name of the bar: it must not hide a worse one
    grpc = row("grpc", 32, [100])
    parts = [
        record_of("8b-serve-wide", [grpc, row("vllm_serve_wide", 32, [125])]),
        record_of("8b-serve", [grpc, row("vllm_serve", 32, [80])]),
    ]
    found = figures.of(parts)
    assert found["served_over_vllm_serve_8b_c32"] == 0.8
    assert found["served_over_vllm_serve_wide_8b_c32"] == 0.8


def test_prefixes_and_the_generator() -> None:
    found = figures.of(list(run_of_everything()))
    assert found["prefix_speedup_8b"] == 3.0 and found["prefix_hit_share_8b"] == 0.89
    assert found["generator_cpu_share"] == 0.2
    assert found["ceiling_over_served"] == 10.0
    assert found["verify_failed_onnx"] == 0 and found["verify_skipped_8b"] == 1


def test_what_was_not_run_has_no_figures() -> None:
    assert figures.of([record_of("8b-raw", [row("grpc", 1, [10])])]) == {
        "tokens_per_response_p50_c1": 1.0,
        "generator_cpu_share": 0.2,
    }


def test_rows_that_failed_have_no_figures() -> None:
    rows = [
        row("grpc", 32, [10]),
        row("raw", 32, []),
        row("vllm_serve", 32, []),
        row("grpc", 64, [], kind="shared"),
    ]
    parts = [record_of(f"8b-{name}", rows) for name in ("raw", "serve", "prefix")]
    assert "generator_cpu_share" in figures.of(parts)
    assert not [name for name in figures.of(parts) if "over" in name or "prefix" in name]
    assert merging.merged(rows[1] | {"failure": "it died"})["failure"] == "it died"


def test_bars_that_hold_are_told_too() -> None:
    rules = (Bar("a", ">=", 0.9), Bar("b", "==", 0))
    assert bars.held(rules, {"a": 0.95}) == ["a >= 0.9: it is 0.95"]


def test_a_part_leaves_its_record_even_when_it_is_cut_off(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.records.mkdir()

    def cut(stage: Stage, keep: Any) -> None:
        keep({"rows": [row("grpc", 1, [10.0])]})
        raise SystemExit(143)

    with pytest.raises(SystemExit):
        keeping.run(Part("8b-raw", "", cut), stage)
    (found,) = keeping.read(stage.records)
    assert found["part"] == "8b-raw" and not found["complete"] and len(found["rows"]) == 1
    keeping.run(Part("8b-raw", "", lambda stage, keep: keep({"rows": []})), stage)
    (found,) = keeping.read(stage.records)
    assert found["complete"] and found["rows"] == [] and found["schema"] == keeping.SCHEMA


def test_what_a_part_finds_hides_nothing_that_its_record_says(tmp_path: Path) -> None:
    """A part that was built for another target is still one of the run: only then do they merge."""
    stage = Stage(tmp_path)
    stage.records.mkdir()
    with pytest.raises(ValueError, match="found target"):
        keeping.run(Part("8b-raw", "", lambda stage, keep: keep({"target": "onnx"})), stage)


def test_onnx_is_verified_as_a_part_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path)
    stage.records.mkdir()
    built = SimpleNamespace(repository=tmp_path)
    monkeypatch.setattr(models, "build", lambda stage, model, target: built)
    monkeypatch.setattr(deployment, "serve", lambda repository, more: nullcontext())
    monkeypatch.setattr(checks, "verified", lambda served, name: checked()["verify"])
    (part,) = (part for part in PARTS if part.name == "smollm2-onnx")
    for one in (part, Part("8b-raw", "", lambda stage, keep: keep({"rows": []}))):
        keeping.run(one, stage)
    assert {found["part"] for found in keeping.read(stage.records)} == {"smollm2-onnx", "8b-raw"}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no partial records"),
        ({"a": {"schema": "other"}}, "is no partial record"),
        ({"a": record_of("a"), "b": record_of("b") | {"target": "onnx"}}, "a rehearsal is no part of a run"),
    ],
)
def test_what_cannot_be_merged_is_refused(tmp_path: Path, files: dict[str, Any], said: str) -> None:
    for name, document in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    with pytest.raises(SystemExit, match=said):
        keeping.read(tmp_path)


def test_all_parts_become_one_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[Path] = []
    monkeypatch.setattr(merging, "draw", drawn.append)
    out = tmp_path / "llm_gpu.json"
    code = merging.merge(list(run_of_everything()), argparse.Namespace(output=out, quick=False))
    assert code == 1 and drawn == [out]
    document = json.loads(out.read_text())
    assert {"figures", "rows", "machine", "versions", "command", "date", "bars", "parts"} <= set(document)
    assert document["machine"] == {"gpu": "H200"} and document["versions"] == {"vllm": "0.22.0"}
    first = document["rows"][0]
    assert first["part"] == "smollm2-raw" and first["tokens_per_second"] == 90
    assert first["ttft_p99"] == pytest.approx(22.2222, abs=1e-3) and first["cores"] == {"engine core": 0.5}
    assert first["samples"] == [{"repeat": 0, "tokens_per_second": 90.0}]
    said = capsys.readouterr().out
    assert "HOLDS prefix_speedup_8b >= 3: it is 3" in said
    assert "MISSED served_over_raw_8b_c32 >= 0.97: it is 0.9" in said
    assert "MISSED soak_chats == 10000: not measured" in said
    # the table is the last that is told
    assert said.rindex("medians; ms") > said.rindex("MISSED")


def test_plots_have_the_loads_that_go_on() -> None:
    rows = [
        {
            "model": "8b",
            "row": "grpc",
            "shape": CLOSED,
            "prompts": "chats",
            "concurrency": 32,
            "itl_p50": 2.0,
        },
        {"model": "8b", "row": "grpc", "shape": CLOSED, "prompts": "chats", "concurrency": 1, "itl_p50": 1.0},
        {"model": "8b", "row": "grpc", "shape": BATCH, "prompts": "chats", "concurrency": 8, "itl_p50": 9.0},
        {"model": "8b", "row": "raw", "shape": CLOSED, "prompts": "chats", "concurrency": 1},
        {
            "model": "8b",
            "row": "grpc",
            "shape": CLOSED,
            "prompts": "shared",
            "concurrency": 64,
            "itl_p50": 3.0,
        },
    ]
    assert plots.series(rows, "8b", "itl_p50") == {"grpc": [(1, 1.0), (32, 2.0)]}
    assert set(plots.COLOURS) >= {"raw", "grpc", "http", *vllm_serve.VARIANTS}


@pytest.mark.slow
def test_random_weights_choose_only_what_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    vocabulary = {"?": 0, "word": 1, "\u010a": 2}
    made = Tokenizer(tokenizer_models.WordLevel(vocabulary, "?"))
    made.add_special_tokens([AddedToken("</s>", special=True)])
    (tmp_path / "tokenizer").mkdir()
    made.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    assert random_llama.silent(tmp_path / "tokenizer", 5) == [3, 4]
    monkeypatch.setitem(random_llama._COMMON, "vocab_size", 5)
    before = torch.get_default_dtype()
    try:
        random_llama.make(tmp_path / "made", tmp_path / "tokenizer", "tiny", "cpu")
    finally:
        torch.set_default_dtype(before)
    head = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "made").lm_head.weight
    assert head.dtype is torch.bfloat16
    assert head[3:].abs().sum() == 0 and head[:3].abs().sum() > 0
    assert (tmp_path / "made" / "tokenizer.json").is_file()
