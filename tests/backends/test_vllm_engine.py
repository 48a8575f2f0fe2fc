"""vLLM's stepper against a stand-in with the signatures of vLLM 0.22; the library itself needs a GPU."""

from __future__ import annotations

import queue
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from backends.engine import vllm, vllm_scheduler
from backends.engine.protocol import Guide, InvalidRequest, Sampling
from backends.engine.stepper import Gauges, Progress
from backends.engine.vllm import Vllm, parameters, stepper, unsupported


class Kind(Enum):
    DELTA = 1


@dataclass
class StandIn:
    """As much of vllm.LLMEngine as is used; `next` are the RequestOutputs of its next steps."""

    next: list[list[Any]] = field(default_factory=list)
    asked: dict[str, tuple[list[int], SimpleNamespace]] = field(default_factory=dict)
    priorities: list[int] = field(default_factory=list)
    adapters: list[Any] = field(default_factory=list)
    loaded: list[Any] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    logger_manager: Any = None
    engine_core: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(outputs_queue=queue.Queue()))

    def add_request(
        self,
        request_id: str,
        prompt: dict[str, Any],
        params: SimpleNamespace,
        *,
        lora_request: Any = None,
        priority: int = 0,
    ) -> None:
        if params.temperature == 7:
            raise ValueError("temperature is too hot")
        assert prompt["type"] == "token" and params.skip_clone
        self.asked[request_id] = (prompt["prompt_token_ids"], params)
        self.priorities.append(priority)
        self.adapters.append(lora_request)

    def add_lora(self, lora_request: Any) -> bool:
        if "broken" in lora_request.lora_path:
            raise ValueError("no adapter there")
        self.loaded.append(lora_request)
        return True

    def abort_request(self, request_ids: list[str]) -> None:
        self.aborted += request_ids

    def step(self) -> list[Any]:
        scheduler = SimpleNamespace(
            num_running_reqs=2, num_waiting_reqs=1, num_skipped_waiting_reqs=3, kv_cache_usage=0.25,
            prefix_cache_stats=SimpleNamespace(requests=1, queries=30, hits=20),
        )  # fmt: skip
        self.logger_manager.record(scheduler_stats=scheduler, iteration_stats=None, mm_cache_stats=None)
        self.logger_manager.log()
        return self.next.pop(0)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    library, inner = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    library.SamplingParams = lambda **given: SimpleNamespace(**{"temperature": 1.0, **given})  # type: ignore[attr-defined]
    inner.RequestOutputKind = Kind  # type: ignore[attr-defined]
    inner.StructuredOutputsParams = SimpleNamespace  # type: ignore[attr-defined]
    requests = ModuleType("vllm.lora.request")
    requests.LoRARequest = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", library)
    monkeypatch.setitem(sys.modules, "vllm.lora", ModuleType("vllm.lora"))
    monkeypatch.setitem(sys.modules, "vllm.lora.request", requests)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", inner)
    core = ModuleType("vllm.v1.engine")
    core.EngineCoreOutputs = lambda: SimpleNamespace(outputs=[])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm.v1.engine", core)
    return StandIn()


def output(
    key: int, ids: Sequence[int], reason: str | None = None, log_probs: Sequence[float] | None = None
) -> SimpleNamespace:
    """Return a RequestOutput with new ids; each position has the chosen id first, then the likeliest."""
    by_id = None
    if log_probs is not None:
        pairs = zip(ids, log_probs, strict=True)
        by_id = [
            {one: SimpleNamespace(logprob=seen) for one, seen in ((token, value), (70, -0.4), (71, -0.5))}
            for token, value in pairs
        ]
    made = SimpleNamespace(token_ids=list(ids), logprobs=by_id, finish_reason=reason)
    return SimpleNamespace(
        request_id=str(key), outputs=[made], prompt_logprobs=None, prompt_token_ids=[1, 2], metrics=None
    )


def test_steps_become_progress_and_the_end_id_is_not_of_the_text(engine: StandIn) -> None:
    stepper = Vllm(engine)
    assert not stepper.busy
    stepper.add(3, [1, 2], Sampling(max_tokens=9, end_ids=frozenset({50}), log_probs=True))
    stepper.add(4, [5], Sampling(max_tokens=2))
    engine.next = [
        [output(3, [10], None, [-0.5]), output(4, [7])],
        [output(3, [11, 50], "stop", [-0.25, -1.0]), output(4, [50], "length")],
    ]
    assert stepper.busy
    assert stepper.step() == [Progress(3, (10,), (-0.5,)), Progress(4, (7,))]
    assert stepper.step() == [Progress(3, (11,), (-0.25,), "stop"), Progress(4, (50,), (), "length")]
    assert not stepper.busy
    assert engine.asked["3"][0] == [1, 2]


def test_the_likeliest_are_told_whether_chosen_or_not(engine: StandIn) -> None:
    stepper = Vllm(engine)
    stepper.add(1, [1], Sampling(max_tokens=9, end_ids=frozenset({50}), top_log_probs=2))
    engine.next = [
        [output(1, [70], None, [-0.4])],
        [output(1, [10], None, [-6.0])],
        [output(1, [71, 50], "stop", [-0.5, 0.0])],
    ]
    likely = ((70, -0.4), (71, -0.5))
    assert stepper.step() == [Progress(1, (70,), tops=(likely,))]
    assert stepper.step() == [Progress(1, (10,), tops=(likely,))]
    assert stepper.step() == [Progress(1, (71,), (), "stop", tops=(likely,))]
    assert engine.asked["1"][1].logprobs == 2


def test_a_score_tells_of_the_prompt_only(engine: StandIn) -> None:
    stepper = Vllm(engine)
    stepper.score(5, [8, 9, 8])
    scored = output(5, [33], "length")
    scored.prompt_token_ids = [8, 9, 8]
    scored.prompt_logprobs = [
        None,
        {9: SimpleNamespace(logprob=-2.0), 4: SimpleNamespace(logprob=-0.1)},
        {8: SimpleNamespace(logprob=-3.0)},
    ]
    engine.next = [[scored]]
    assert stepper.step() == [Progress(5, (), (-2.0, -3.0), "length")]
    asked = engine.asked["5"][1]
    assert (asked.prompt_logprobs, asked.max_tokens) == (0, 1)


def test_priorities_are_vllm_s_own(engine: StandIn) -> None:
    stepper = Vllm(engine)
    stepper.add(1, [1], Sampling(max_tokens=9, priority=3))
    stepper.add(2, [1], Sampling(max_tokens=9))
    assert engine.priorities == [3, 50]


@pytest.mark.parametrize(("told", "refused"), [({"scheduling_policy": "priority"}, False), ({}, True)])
def test_without_its_policy_priorities_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: dict[str, str], refused: bool
) -> None:
    monkeypatch.setattr(vllm, "Hosted", lambda name, unsupported, settings, folder: unsupported)
    assert ("priority" in vllm.create({"engine_arguments": told}, tmp_path)) == refused


def test_adapters_are_read_at_the_start_and_asked_for_by_name(engine: StandIn, tmp_path: Path) -> None:
    stepper = Vllm(engine, {"law": tmp_path / "law", "support": tmp_path / "support"})
    law, support = engine.loaded
    assert (law.lora_name, law.lora_int_id, law.lora_path) == ("law", 1, str(tmp_path / "law"))
    assert (support.lora_name, support.lora_int_id) == ("support", 2)
    stepper.add(1, [1], Sampling(max_tokens=9, adapter="support"))
    stepper.add(2, [1], Sampling(max_tokens=9))
    stepper.score(3, [1, 2])
    assert engine.adapters == [support, None, None]


def test_an_adapter_that_vllm_does_not_take_ends_the_start(engine: StandIn, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no adapter there"):
        Vllm(engine, {"law": tmp_path / "broken"})


def test_aborted_sequences_are_heard_of_no_more(engine: StandIn) -> None:
    stepper = Vllm(engine)
    for key in (1, 2):
        stepper.add(key, [1], Sampling(max_tokens=5))
    engine.next = [[output(1, [10]), output(2, [20])]]
    stepper.abort([1, 77])
    assert engine.aborted == ["1"]
    assert stepper.step() == [Progress(2, (20,))]


def test_what_vllm_refuses_is_the_request_s_error(engine: StandIn) -> None:
    stepper = Vllm(engine)
    with pytest.raises(InvalidRequest, match="engine vllm does not take this: temperature is too hot"):
        stepper.add(1, [1], Sampling(max_tokens=5, temperature=7.0))
    assert not stepper.busy


def test_an_error_of_one_request_ends_that_one(engine: StandIn) -> None:
    stepper = Vllm(engine)
    stepper.add(1, [1], Sampling(max_tokens=5))
    engine.next = [[output(1, [], "error")]]
    assert stepper.step() == [Progress(1, failure=("EngineError", "engine vllm ended it: error"))]
    assert not stepper.busy


def test_gauges_are_vllm_s_own_and_an_idle_engine_holds_nothing(engine: StandIn) -> None:
    stepper = Vllm(engine)
    stepper.add(1, [1], Sampling(max_tokens=5))
    engine.next = [[output(1, [10])], [output(1, [11], "length")]]
    stepper.step()
    assert stepper.gauges() == Gauges(2, 4, 0.25, 30, 20)
    stepper.step()
    assert stepper.gauges() == Gauges(0, 0, 0.0, 60, 40)


def test_the_first_step_tells_how_long_the_sequence_stood_in_line(engine: StandIn) -> None:
    stepper = Vllm(engine)
    stepper.add(1, [1], Sampling(max_tokens=5))
    engine.next = [[output(1, [10])], [output(1, [11])]]
    for (made,) in engine.next:
        made.metrics = SimpleNamespace(queued_ts=5.0, scheduled_ts=5.5)
    assert [step.waited for _ in range(2) for step in stepper.step()] == [0.5, None]


def test_a_step_that_waits_for_the_core_is_woken_by_outputs_of_nothing(engine: StandIn) -> None:
    Vllm(engine).wake()
    assert engine.engine_core.outputs_queue.get_nowait().outputs == []


@pytest.mark.parametrize(
    ("guide", "told"),
    [
        (Guide("json"), {"json_object": True}),
        (Guide("json_schema", '{"type": "object"}'), {"json": '{"type": "object"}'}),
        (Guide("regex", "a+"), {"regex": "a+"}),
        (Guide("ebnf_grammar", 'root ::= "a"'), {"grammar": 'root ::= "a"'}),
    ],
)
def test_guides_are_structured_outputs(engine: StandIn, guide: Guide, told: dict[str, Any]) -> None:
    stepper = Vllm(engine)
    stepper.add(1, [1], Sampling(max_tokens=5, guide=guide))
    assert vars(engine.asked["1"][1].structured_outputs) == told


def test_bad_words_are_told_as_ids_in_spellings_of_every_length(engine: StandIn) -> None:
    """vLLM itself leaves " word" out where "word" has another number of tokens."""
    stepper = Vllm(engine)
    stepper.add(1, [1], Sampling(max_tokens=5, bad_ids=((7, 8), (9,))))
    stepper.add(2, [1], Sampling(max_tokens=5))
    assert engine.asked["1"][1]._bad_words_token_ids == [[7, 8], [9]]
    assert engine.asked["2"][1]._bad_words_token_ids is None


def test_every_sampling_parameter_has_its_name_in_vllm() -> None:
    asked = Sampling(
        max_tokens=7, end_ids=frozenset({9, 3}), temperature=0.5, top_k=4, top_p=0.9, min_p=0.1,
        repetition_penalty=1.2, presence_penalty=0.3, frequency_penalty=0.4, min_tokens=2, seed=11,
        logit_bias={5: -1.0}, bad_ids=((1,),), log_probs=True,
    )  # fmt: skip
    assert parameters(asked) == {
        "max_tokens": 7, "stop_token_ids": [3, 9], "temperature": 0.5, "top_k": 4, "top_p": 0.9, "min_p": 0.1,
        "repetition_penalty": 1.2, "presence_penalty": 0.3, "frequency_penalty": 0.4, "min_tokens": 2,
        "seed": 11, "logit_bias": {5: -1.0}, "logprobs": 0,
        "ignore_eos": True, "detokenize": False, "structured_outputs": None,
    }  # fmt: skip
    plain = parameters(Sampling(max_tokens=1))
    assert (plain["temperature"], plain["logprobs"], plain["logit_bias"], plain["seed"]) == (
        0.0,
        None,
        None,
        None,
    )


@pytest.mark.parametrize("model", ["draft", "elsewhere/draft", None])
def test_a_draft_of_the_version_s_folder_is_found_there(
    model: str | None, engine: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EngineArgs and LLMEngine.from_engine_args are the library's; only what they are given is looked at."""
    told: dict[str, object] = {}
    library = sys.modules["vllm"]
    monkeypatch.setattr(library, "EngineArgs", lambda **given: given, raising=False)
    starting = SimpleNamespace(from_engine_args=lambda given: told.update(given) or engine)
    monkeypatch.setattr(library, "LLMEngine", starting, raising=False)
    (tmp_path / "draft").mkdir()
    asked = {"num_speculative_tokens": 3, **({"model": model} if model else {"method": "ngram"})}
    stepper({"model": "model", "engine_arguments": {"speculative_config": asked, "seed": 1}}, tmp_path)
    found = str(tmp_path / "draft") if model == "draft" else model
    # vLLM finds what it is to schedule with by this name
    module, name = str(told["scheduler_cls"]).rsplit(".", 1)
    assert getattr(sys.modules[module], name) is vllm_scheduler.scheduler
    assert told["speculative_config"] == {**asked, **({"model": found} if model else {})}
    assert (told["model"], told["tokenizer"], told["seed"]) == (
        str(tmp_path / "model"),
        str(tmp_path / "tokenizer"),
        1,
    )


def test_what_vllm_takes_not_beside_guesses_is_named() -> None:
    assert "min_p" not in unsupported({"speculative_config": None, "seed": 1})
    for arguments in ({"speculative_config": {"method": "ngram"}}, {"spec_method": "ngram"}):
        assert unsupported(arguments) - unsupported({}) == {"min_p", "logit_bias"}


class Scheduler:
    """As much of vllm.v1.core.sched.Scheduler as is used."""

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.running: list[str] = []
        self.counted = 0

    def make_stats(self, spec_decoding_stats: object = None) -> int:
        """Return what was counted since the last call."""
        counted, self.counted = self.counted, 0
        return counted


def test_the_scheduler_is_vllm_s_own_and_counts_all_that_it_tells_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("backends.engine.vllm_scheduler.time.monotonic", lambda: now)
    settings = SimpleNamespace(scheduler_cls="ours")
    settings.get_scheduler_cls = lambda: {None: Scheduler}[settings.scheduler_cls]
    config = SimpleNamespace(scheduler_config=settings)
    made = vllm_scheduler.scheduler(vllm_config=config, block_size=16)
    assert made.given == {"vllm_config": config, "block_size": 16}
    told = []
    for step in range(100):
        made.running = [] if step == 99 else ["0"]
        made.counted += 1
        told.append(made.make_stats(None))
        now += 0.01
    # steps of 10 ms: every fifth, and the last of all, after which no other follows
    assert sum(number for number in told if number) == 100
    assert 15 <= sum(number is not None for number in told) <= 25
    assert told[-1] is not None
