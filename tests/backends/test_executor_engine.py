"""The engine that asks backend tensorrtllm: its tensors, why texts end, and who is told that nobody waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import until

from backends.engine import executor_tensors as tensors
from backends.engine import tensorrt_llm_executor
from backends.engine.executor_tensors import Reader
from backends.engine.protocol import EngineError, Guide, InvalidRequest, Overloaded, Sampling, Step
from backends.engine.tensorrt_llm_executor import Executor
from backends.engine.triton_model import Arrays, meaning

SETTINGS: dict[str, Any] = {
    "engine_arguments": {"version": "1.2.1", "vocabulary": 10},
    "context_length": 100,
    "max_active": 1,
    "max_waiting": 2,
}


def answer(*ids: int, log_probs: Sequence[float] = ()) -> dict[str, Any]:
    found = {
        "output_ids": np.array([[[*ids, -1, -1]]], np.int32),
        "sequence_length": np.array([[len(ids)]], np.int32),
    }
    return {**found, "output_log_probs": np.array([[log_probs]], np.float32)} if log_probs else found


class Model:
    """A stand-in for another model of the server: `script` is what it answers, until it is told to end."""

    name = "tiny_engine"

    def __init__(self, script: Callable[[Model, Arrays], Iterator[Arrays]], cancels: bool = False) -> None:
        self.script = script
        self.cancels = cancels
        self.asked: list[tuple[str, Mapping[str, Any], tuple[str, ...]]] = []
        self.ended = threading.Event()
        self.cancelled = 0

    def ask(self, request: str, inputs: Arrays, outputs: Sequence[str]) -> Answers:
        told = {name: array.reshape(-1).tolist() for name, array in inputs.items()}
        self.asked.append((request, told, tuple(outputs)))
        if "stop" in told:
            self.ended.set()
            return Answers(self, iter(()))
        return Answers(self, self.script(self, inputs))


class Answers:
    def __init__(self, model: Model, found: Iterator[Arrays]) -> None:
        self._model = model
        self._found = found

    def __iter__(self) -> Iterator[Arrays]:
        return self._found

    def cancel(self) -> bool:
        if self._model.cancels:
            self._model.cancelled += 1
            self._model.ended.set()
        return self._model.cancels


def endless(model: Model, inputs: Arrays) -> Iterator[Arrays]:
    yield answer(1)
    assert model.ended.wait(20)
    yield answer(2)


def short(model: Model, inputs: Arrays) -> Iterator[Arrays]:
    yield answer(1)
    yield answer(2)


async def steps(engine: Executor, *ids: int, **sampling: Any) -> list[Step]:
    asked = Sampling(**{"max_tokens": 5, **sampling})
    return [step async for step in engine.generate("one", ids, asked)]


def read(asked: Sampling, *answers: dict[str, Any]) -> list[tuple[tuple[int, ...], str | None]]:
    reader = Reader(asked)
    made = [reader.read(one) for one in answers]
    return [*((step.ids, step.finish_reason) for step in made), ((), reader.reason())]


def test_a_text_ended_by_itself_where_fewer_tokens_came_than_were_allowed() -> None:
    assert read(Sampling(3), answer(4), answer(5))[-1] == ((), "stop")
    assert read(Sampling(3), answer(4, 5), answer(6))[1:] == [((6,), "length"), ((), "length")]
    assert read(Sampling(2), answer())[-1] == ((), "stop")


def test_an_id_that_ends_texts_is_no_part_of_one_even_in_the_last_place() -> None:
    ends = frozenset({8, 9})
    assert read(Sampling(2, ends), answer(4, 9))[0] == ((4,), "stop")
    assert read(Sampling(5, ends), answer(4), answer(8))[1] == ((), "stop")
    assert read(Sampling(2), answer(4, 9))[0] == ((4, 9), "length")


@pytest.mark.parametrize("told", [[(-1.0,), (-1.0, -2.0, -3.0)], [(-1.0,), (-2.0, -3.0)]])
def test_log_probs_are_of_all_tokens_so_far_or_of_the_new_ones(told: list[tuple[float, ...]]) -> None:
    reader = Reader(Sampling(3, frozenset({9}), log_probs=True))
    made = [reader.read(answer(4, log_probs=told[0])), reader.read(answer(5, 9, log_probs=told[1]))]
    assert [step.log_probs for step in made] == [(-1.0,), (-2.0,)]
    with pytest.raises(EngineError, match="of 1 of 2 tokens"):
        Reader(Sampling(3, log_probs=True)).read(answer(4, 5, log_probs=[-1.0]))


def test_words_are_ids_and_where_each_ends() -> None:
    assert tensors.words([(5,), (6, 7, 8), (9,)]).tolist() == [[[5, 6, 7, 8, 9], [1, 4, 5, -1, -1]]]


def asked(version: str = "1.2.1", **sampling: Any) -> dict[str, Any]:
    made = tensors.asked([3, 4], Sampling(**{"max_tokens": 5, **sampling}), version=version, vocabulary=10)
    return {name: array.reshape(-1).tolist() for name, array in made.items()}


def test_a_greedy_request_says_what_is_greedy_to_the_backend_and_no_more() -> None:
    usual = {
        "input_ids": [3, 4],
        "input_lengths": [2],
        "request_output_len": [5],
        "runtime_top_k": [1],
        "streaming": [True],
        "exclude_input_in_output": [True],
    }
    assert asked() == asked(temperature=0.7, top_k=1) == asked(seed=3) == usual
    assert asked(end_ids=frozenset({7, 2, 5})) == {**usual, "end_id": [2], "stop_words_list": [5, 7, 1, 2]}


def test_a_drawn_answer_has_a_share_and_a_seed_in_any_case() -> None:
    first, second = asked(temperature=0.5), asked(temperature=0.5)
    assert (first["runtime_top_k"], first["runtime_top_p"], first["temperature"]) == ([0], [1.0], [0.5])
    assert first["seed"] != second["seed"]
    assert asked(temperature=0.5, seed=2**64 - 1)["seed"] == [2**64 - 1]
    with pytest.raises(InvalidRequest, match="at most 1024"):
        asked(temperature=0.5, top_k=1025)


def test_versions_before_0_20_have_names_of_their_own() -> None:
    old = asked("0.19.0", temperature=1.0, seed=3, min_tokens=2)
    new = asked("0.20.0", temperature=1.0, seed=3, min_tokens=2)
    assert (old["random_seed"], old["min_length"]) == (new["seed"], new["min_tokens"]) == ([3], [2])
    assert not {"seed", "min_tokens"} & set(old)


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ({"presence_penalty": 1.0, "frequency_penalty": 1.0}, "'frequency_penalty', 'presence_penalty'"),
        ({"guide": Guide("json")}, "'guided_decoding_guide_type'"),
        ({"min_tokens": 2, "end_ids": frozenset({1, 2})}, "name one as end_id"),
        ({"max_tokens": 100}, "the context holds 100"),
    ],
)
def test_what_the_engine_would_understand_otherwise_is_refused(sampling: dict[str, Any], words: str) -> None:
    model = Model(short)
    engine = Executor(model, SETTINGS, Path())
    with pytest.raises(InvalidRequest, match=words):
        asyncio.run(steps(engine, 3, **sampling))
    with pytest.raises(InvalidRequest, match="gather_context_logits"):
        asyncio.run(engine.score([3, 4]))
    assert model.asked == []
    engine.close()


@pytest.mark.parametrize("cancels", [True, False])
def test_the_engine_is_told_of_a_request_that_nobody_waits_for(cancels: bool) -> None:
    model = Model(endless, cancels)
    engine = Executor(model, SETTINGS, Path())

    async def leave() -> None:
        async with aclosing(engine.generate("one", [3], Sampling(50))) as made:  # type: ignore[type-var]
            assert await anext(made) == Step((1,), waited=pytest.approx(0, abs=20))

    asyncio.run(leave())
    until(lambda: engine.health().active == 0)
    stops = [request for request, told, _ in model.asked if "stop" in told]
    assert (model.cancelled, stops) == ((1, []) if cancels else (0, [model.asked[0][0]]))
    engine.close()


def test_who_left_before_the_first_answer_is_not_forgotten() -> None:
    model = Model(endless)
    sent, heard = threading.Event(), threading.Event()
    usual = model.ask

    def ask(request: str, inputs: Arrays, outputs: Sequence[str]) -> Answers:
        if "stop" not in inputs:
            sent.set()
            assert heard.wait(20)
        return usual(request, inputs, outputs)

    model.ask = ask  # type: ignore[method-assign]
    engine = Executor(model, SETTINGS, Path())

    async def leave() -> list[Step]:
        task = asyncio.create_task(steps(engine, 3, max_tokens=50))
        await asyncio.to_thread(sent.wait, 20)
        engine.abort("one")
        heard.set()
        return await task

    assert asyncio.run(leave()) == [Step((), finish_reason="cancelled")]
    until(lambda: engine.health().active == 0)
    assert engine.health().cancelled == 1
    engine.close()


def adapter(folder: Path, number: float) -> str:
    folder.mkdir(exist_ok=True)
    np.save(folder / "model.lora_weights.npy", np.full((1, 1, 2), number, np.float16))
    np.save(folder / "model.lora_config.npy", np.array([[[1, 0, 1]]], np.int32))
    return folder.name


class Cache:
    """The script of an engine that keeps one adapter, as far as it has been sent any."""

    def __init__(self) -> None:
        self.held: set[int] = set()

    def __call__(self, model: Model, inputs: Arrays) -> Iterator[Arrays]:
        (task,) = inputs["lora_task_id"].reshape(-1).tolist()
        if "lora_weights" in inputs:
            self.held = {task}
        if task not in self.held:
            raise EngineError(f"LoRA task {task} not found in cache. Please send LoRA weights with request")
        yield answer(1)


def test_an_adapter_goes_along_at_first_and_when_the_engine_has_it_no_longer(tmp_path: Path) -> None:
    named = {name: adapter(tmp_path / name, number) for number, name in enumerate("ab", 1)}
    model = Model(Cache())
    engine = Executor(model, {**SETTINGS, "adapters": named}, tmp_path)
    for name in ("b", "b", "a", "b"):
        assert asyncio.run(steps(engine, 3, adapter=name, max_tokens=1)) == [
            Step((1,), finish_reason="length", waited=pytest.approx(0, abs=20))
        ]
    told = [one for _, one, _ in model.asked]
    # b new, b kept, a new, which puts b out, b in vain, b once more
    assert [one.get("lora_weights") for one in told] == [[2, 2], None, [1, 1], None, [2, 2]]
    assert told[0]["lora_config"] == [1, 0, 1] and "lora_config" not in told[1]
    tasks = [one["lora_task_id"] for one in told]
    assert tasks[0] == tasks[1] == tasks[3] == tasks[4] != tasks[2]
    engine.close()


def test_the_engine_knows_an_adapter_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    """A version that is newer asks the same engine, which may hold what the name meant before."""
    for name, number in (("old", 1.0), ("same", 1.0), ("new", 2.0)):
        adapter(tmp_path / name, number)
    old, same, new = (tensors.task(tmp_path / name) for name in ("old", "same", "new"))
    assert old == same != new and min(old, new) > 0 and max(old, new) < 2**63


def test_an_adapter_that_the_engine_refuses_is_not_sent_twice(tmp_path: Path) -> None:
    def refused(model: Model, inputs: Arrays) -> Iterator[Arrays]:
        raise EngineError("lora module attn_q not enabled for this model")
        yield {}

    model = Model(refused)
    engine = Executor(model, {**SETTINGS, "adapters": {"a": adapter(tmp_path / "a", 1)}}, tmp_path)
    with pytest.raises(EngineError, match="not enabled"):
        asyncio.run(steps(engine, 3, adapter="a"))
    assert len(model.asked) == 1
    engine.close()


def test_an_engine_that_is_away_is_said_to_be_for_a_while_or_until_it_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(model: Model, inputs: Arrays) -> Iterator[Arrays]:
        raise meaning("Failed for execute the inference request. Model 'tiny_engine' is not ready.")
        yield {}

    model = Model(away)
    engine = Executor(model, SETTINGS, Path())
    assert engine.health().failure is None
    with pytest.raises(Overloaded, match="is not ready"):
        asyncio.run(steps(engine, 3))
    assert "is not ready" in str(engine.health().failure)
    model.script = short
    assert asyncio.run(steps(engine, 3))[-1].finish_reason == "stop"
    assert engine.health().failure is None
    model.script = away
    monkeypatch.setattr(tensorrt_llm_executor, "SECONDS_OF_FAILURE", 0.0)
    with pytest.raises(Overloaded):
        asyncio.run(steps(engine, 3))
    assert engine.health().failure is None
    engine.close()


def test_scores_are_logarithms_over_the_vocabulary() -> None:
    logits = np.log(np.array([[[1, 2, 1], [6, 1, 1], [1, 1, 1]]], np.float32))
    found = tensors.scores({"context_logits": logits}, [0, 1, 2])
    np.testing.assert_allclose(found, np.log([2 / 4, 1 / 8]), rtol=1e-6)
    with pytest.raises(EngineError, match="logits of 3 of the prompt's 4 tokens"):
        tensors.scores({"context_logits": logits}, [0, 1, 2, 2])
