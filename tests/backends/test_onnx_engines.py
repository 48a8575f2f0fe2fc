"""The engines of --target onnx on a tiny model, against onnxruntime-genai used directly."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.engine import grammars, onnxruntime, onnxruntime_genai, rounds, scheduled
from backends.engine.decoder_rows import DecoderRows
from backends.engine.device_rows import DeviceRows
from backends.engine.protocol import Engine, EngineError, Guide, InvalidRequest, Sampling, Step
from backends.engine.rows import Interrupted
from backends.text.decoding import Vocabulary, decode

PROMPT = list(np.random.default_rng(1).integers(20, 49000, 600))


PIECE = {
    onnxruntime: (rounds, "PROMPT_TOKENS_ALONE"),
    onnxruntime_genai: (onnxruntime_genai, "PROMPT_TOKENS_A_TURN"),
}


class Copying:
    """A binding as one to a device is: arrays of the host are copied when they are bound."""

    def __init__(self, binding: Any) -> None:
        self._binding = binding
        self._copies: dict[str, Any] = {}

    def bind_cpu_input(self, name: str, array: Any) -> None:
        self._copies[name] = array.copy()
        self._binding.bind_cpu_input(name, self._copies[name])

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        self.bind_cpu_input(name, value.numpy())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._binding, name)


class OnCpu(DeviceRows):
    """Rows that are bound by their address, in the memory of the host."""

    def __init__(self, folder: Path, *, rows: int, capacity: int, threads: int) -> None:
        super().__init__(folder, rows=rows, capacity=capacity, threads=threads, device="cpu")
        session: Any = self._graph._session
        bind = session.io_binding
        session.io_binding = lambda: Copying(bind())


@pytest.fixture(
    scope="module",
    params=[(onnxruntime, DecoderRows), (onnxruntime, OnCpu), (onnxruntime_genai, None)],
    ids=["onnxruntime", "onnxruntime-on-a-device", "genai"],
)
def module_and_rows(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def module(module_and_rows: Any) -> Any:
    return module_and_rows[0]


@pytest.fixture(scope="module")
def engine(module_and_rows: Any, artifact: Path, settings: dict[str, Any]) -> Iterator[Engine]:
    module, rows = module_and_rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DecoderRows", rows, raising=False)
        # each step by itself, so that any of them can be the last that is waited for
        patch.setattr(module, "RESPONSES_A_SECOND_PER_THREAD", math.inf, raising=False)
        made = module.create(settings, artifact.parent)
    yield made
    made.close()


@pytest.fixture(scope="module")
def library_model(artifact: Path) -> Any:
    import onnxruntime_genai

    return onnxruntime_genai.Model(str(artifact))


def raw(model: Any, ids: list[int], tokens: int) -> tuple[list[int], np.ndarray]:
    """Return greedy ids by the library alone, and the logits of every prompt position."""
    import onnxruntime_genai

    parameters = onnxruntime_genai.GeneratorParams(model)
    parameters.set_search_options(max_length=len(ids) + tokens, do_sample=False)
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(np.array([ids], dtype=np.int32))
    rows = np.array(generator.get_output("logits"), dtype=np.float64)[0]
    found = []
    for _ in range(tokens):
        generator.generate_next_token()
        found.append(int(generator.get_next_tokens()[0]))
    return found, rows


def log_softmax(rows: np.ndarray) -> np.ndarray:
    shifted = rows - rows.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


async def collect(engine: Engine, ids: list[int], **options: Any) -> Step:
    sampling = Sampling(**{"max_tokens": 12, **options})
    steps = [step async for step in engine.generate("test", ids, sampling)]
    tokens = tuple(token for step in steps for token in step.ids)
    values = tuple(value for step in steps for value in step.log_probs)
    tops = tuple(top for step in steps for top in step.tops)
    return Step(tokens, values, steps[-1].finish_reason, tops=tops)


@pytest.mark.parametrize("length", [1, 5, 256, 257, 600])
def test_greedy_equals_the_library_whatever_the_prompts_length(
    engine: Engine, library_model: Any, length: int
) -> None:
    expected, _ = raw(library_model, PROMPT[:length], 12)
    found = asyncio.run(collect(engine, PROMPT[:length]))
    assert list(found.ids) == expected
    assert found.finish_reason == "length"


def test_a_prompt_in_pieces_equals_the_prompt_at_once(
    engine: Engine, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = asyncio.run(collect(engine, PROMPT, log_probs=True))
    before = engine.health().steps
    monkeypatch.setattr(*PIECE[module], 10_000)
    whole = asyncio.run(collect(engine, PROMPT, log_probs=True))
    assert engine.health().steps - before == 12
    assert pieces.ids == whole.ids
    assert np.allclose(pieces.log_probs, whole.log_probs, atol=1e-4)


@pytest.mark.parametrize("length", [2, 256, 257, 600])
def test_score_is_the_log_softmax_of_the_raw_logits(engine: Engine, library_model: Any, length: int) -> None:
    ids = PROMPT[:length]
    _, rows = raw(library_model, ids, 1)
    expected = log_softmax(rows)[np.arange(length - 1), ids[1:]]
    found = asyncio.run(engine.score(ids))
    assert len(found) == length - 1
    assert np.allclose(found, expected, atol=1e-3)


def test_score_of_one_token_is_empty(engine: Engine) -> None:
    assert asyncio.run(engine.score([5])) == []


def test_log_probs_of_the_answer_equal_its_score(engine: Engine) -> None:
    answer = asyncio.run(collect(engine, PROMPT[:20], log_probs=True))
    scores = asyncio.run(engine.score([*PROMPT[:20], *answer.ids]))
    assert np.allclose(answer.log_probs, scores[19:], atol=1e-3)


def test_the_likeliest_are_those_of_the_raw_logits(engine: Engine, library_model: Any) -> None:
    _, rows = raw(library_model, PROMPT[:20], 1)
    expected = log_softmax(rows[-1])
    best = np.argsort(-expected)[:5]
    answer = asyncio.run(collect(engine, PROMPT[:20], top_log_probs=5, max_tokens=3))
    assert [len(top) for top in answer.tops] == [5, 5, 5]
    assert [token for token, _ in answer.tops[0]] == best.tolist()
    assert np.allclose([value for _, value in answer.tops[0]], expected[best], atol=1e-3)
    assert [top[0][0] for top in answer.tops] == list(answer.ids)


def test_interleaved_sequences_equal_those_alone(engine: Engine) -> None:
    sizes = ((0, 9, 1), (50, 300, 2), (7, 30, 3), (3, 3, 4), (90, 170, 5), (11, 64, 6), (2, 65, 7))
    cases = [(PROMPT[start : start + size], seed) for start, size, seed in sizes]

    async def one(ids: list[int], seed: int) -> Step:
        # of a few: with the whole vocabulary in a row, the last bit of a logit may decide which is drawn
        return await collect(engine, ids, temperature=1.0, top_k=4, seed=seed, max_tokens=8 * seed)

    async def together() -> list[Step]:
        return await asyncio.gather(*(one(*case) for case in cases))

    alone = [asyncio.run(one(*case)) for case in cases]
    assert asyncio.run(together()) == alone


def test_an_end_id_ends_the_answer_and_is_not_part_of_it(engine: Engine) -> None:
    whole = asyncio.run(collect(engine, PROMPT[:9])).ids
    place = next(place for place, token in enumerate(whole) if place and token not in whole[:place])
    ended = asyncio.run(collect(engine, PROMPT[:9], end_ids=frozenset({whole[place]})))
    assert (ended.ids, ended.finish_reason) == (whole[:place], "stop")


def test_leaving_stops_the_engine(engine: Engine) -> None:
    async def main() -> None:
        sampling = Sampling(max_tokens=1400)
        async with aclosing(engine.generate("left", PROMPT, sampling)) as steps:
            await anext(steps)
        for _ in range(1000):
            if engine.health().active == 0:
                return
            await asyncio.sleep(0.005)
        pytest.fail("still active")

    before = engine.health().generated_tokens
    asyncio.run(main())
    assert engine.health().generated_tokens - before < 1400


def test_what_does_not_fit_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="600 tokens and max_tokens is 1449, the context holds 2048"):
        asyncio.run(collect(engine, PROMPT, max_tokens=1449))


def test_those_who_come_and_go_disturb_nobody(engine: Engine) -> None:
    """Sequences end, are left and are scored at all times, so that rows move under those that go on."""
    steady = [PROMPT[start : start + 10 + start] for start in (1, 20, 33)]

    async def passing(place: int) -> None:
        async with aclosing(engine.generate("gone", PROMPT[place:][:99], Sampling(max_tokens=50))) as steps:
            for _ in range(place % 5 + 1):
                await anext(steps)

    async def main() -> tuple[list[Step], list[list[float]]]:
        lasting = [collect(engine, ids, max_tokens=60) for ids in steady]
        scored = [engine.score(ids) for ids in steady]
        whole = asyncio.gather(*lasting), asyncio.gather(*scored)
        await asyncio.gather(*(passing(place) for place in range(20)))
        return await whole[0], await whole[1]

    alone = [asyncio.run(collect(engine, ids, max_tokens=60)) for ids in steady]
    scores = [asyncio.run(engine.score(ids)) for ids in steady]
    answers, scored = asyncio.run(main())
    assert answers == alone
    for found, expected in zip(scored, scores, strict=True):
        assert np.allclose(found, expected, atol=1e-4)
    assert engine.health().waiting == 0


def test_one_that_outgrows_the_cache_disturbs_nobody(artifact: Path, settings: dict[str, Any]) -> None:
    """Room for all grows while they run, past 256 and past 512 tokens, and is given back at the end."""
    engine = onnxruntime.create(settings, artifact.parent)
    rows = engine._rounds._rows
    short, long = PROMPT[:40], PROMPT[:250]

    async def main() -> list[Step]:
        asked = ((short, 100), (long, 300), (PROMPT[50:90], 100))
        return await asyncio.gather(*(collect(engine, ids, max_tokens=tokens) for ids, tokens in asked))

    alone = asyncio.run(collect(engine, short, max_tokens=100))
    assert rows.capacity == 256
    one, grown, _ = asyncio.run(main())
    assert one == alone
    assert len(grown.ids) == 300
    assert asyncio.run(collect(engine, long, max_tokens=300)) == grown
    deadline = time.monotonic() + 5
    while rows.capacity > 256 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert rows.capacity == 256
    engine.close()


def test_rows_that_never_move_answer_like_those_that_do(artifact: Path) -> None:
    moving = DecoderRows(artifact, rows=4, capacity=40, threads=1)
    fixed = OnCpu(artifact, rows=4, capacity=40, threads=1)
    both = (moving, fixed)

    def same(made: list[np.ndarray]) -> None:
        assert np.allclose(*made, atol=1e-4)

    for row in range(4):
        same([np.array(rows.read(row, PROMPT[row * 7 : row * 7 + 3 + row], every=True)) for rows in both])
    same([np.array(rows.step([5, 6])) for rows in both])
    for rows in both:
        rows.clear(0)
        rows.move(3, 0, exchanging=False)
    # the third was computed on by the steps of the others, and knows nothing of it
    same([np.array(rows.step([7, 8, 9])) for rows in both])
    same([np.array(rows.read(3, PROMPT[:39], every=True)) for rows in both])
    for rows in both:
        rows.move(3, 1, exchanging=True)
    same([np.array(rows.step([1, 2, 3, 4])) for rows in both])
    # the full one is left alone while the first goes on
    same([np.array(rows.step([11])) for rows in both])
    with pytest.raises(ValueError, match="a row of 40 tokens cannot hold 41"):
        fixed.step([1, 2])
    fixed.close()


def test_rows_hold_no_more_than_they_were_made_for(artifact: Path) -> None:
    rows = DecoderRows(artifact, rows=2, capacity=300, threads=1)
    rows.read(0, PROMPT[:299], every=False)
    rows.step([5])
    with pytest.raises(ValueError, match="a row of 300 tokens cannot hold 301"):
        rows.step([5])


def test_an_interrupted_run_leaves_the_rows_as_they_were(artifact: Path) -> None:
    rows, undisturbed = (DecoderRows(artifact, rows=2, capacity=300, threads=1) for _ in range(2))
    for each in (rows, undisturbed):
        each.read(0, PROMPT[:20], every=False)
    rows.interrupt()
    with pytest.raises(Interrupted):
        rows.step([7])
    assert np.array_equal(rows.step([7]), undisturbed.step([7]))
    assert np.array_equal(rows.step([9]), undisturbed.step([9]))


def test_a_failing_sequence_spares_its_neighbours(engine: Engine) -> None:
    async def bad() -> str:
        forbidding = Sampling(max_tokens=5, bad_ids=tuple((token,) for token in range(49152)))
        with pytest.raises(EngineError) as caught:
            async for _ in engine.generate("bad", PROMPT[:20], forbidding):
                pass
        return str(caught.value)

    async def main() -> tuple[Step, Step, str]:
        return await asyncio.gather(
            collect(engine, PROMPT[:40], max_tokens=30), collect(engine, PROMPT[:9], max_tokens=30), bad()
        )

    alone = asyncio.run(collect(engine, PROMPT[:40], max_tokens=30))
    one, other, message = asyncio.run(main())
    assert one == alone
    assert len(other.ids) == 30
    assert "forbid every token" in message


NUMBER = Guide("regex", "[a-z]{3}, [0-9]{2}")


@pytest.fixture(scope="module")
def vocabulary(artifact: Path) -> Vocabulary:
    return Vocabulary.load(artifact.parent / "tokenizer" / "tokenizer.json")


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 3}])
def test_a_guided_answer_has_its_form(
    engine: Engine, vocabulary: Vocabulary, options: dict[str, Any]
) -> None:
    options = {"guide": NUMBER, "end_ids": frozenset({2}), "max_tokens": 30, **options}
    answer = asyncio.run(collect(engine, PROMPT[:40], **options))
    text = decode(vocabulary, answer.ids)
    assert re.fullmatch(NUMBER.text, text), text
    assert answer.finish_reason == "stop"
    assert asyncio.run(collect(engine, PROMPT[:40], **options)) == answer


def test_log_probs_of_a_guided_answer_are_those_of_the_model_alone(engine: Engine) -> None:
    answer = asyncio.run(collect(engine, PROMPT[:20], guide=NUMBER, log_probs=True, top_log_probs=3))
    scores = asyncio.run(engine.score([*PROMPT[:20], *answer.ids]))
    assert np.allclose(answer.log_probs, scores[19:], atol=1e-3)
    free = asyncio.run(collect(engine, PROMPT[:20], top_log_probs=3, max_tokens=1))
    # the likeliest are those that the model would have said, not those that it may say
    assert [token for token, _ in answer.tops[0]] == [token for token, _ in free.tops[0]]
    assert answer.ids[0] not in [token for token, _ in answer.tops[0]]


def test_guided_answers_disturb_nobody(engine: Engine, vocabulary: Vocabulary) -> None:
    alone = asyncio.run(collect(engine, PROMPT[:40], max_tokens=30))

    async def main() -> list[Step]:
        return await asyncio.gather(
            collect(engine, PROMPT[:40], max_tokens=30),
            *(collect(engine, PROMPT[place:30], max_tokens=30, guide=NUMBER) for place in range(6)),
        )

    free, *held = asyncio.run(main())
    assert free == alone
    texts = [decode(vocabulary, answer.ids) for answer in held]
    assert all(re.fullmatch(NUMBER.text, text) for text in texts), texts
    assert len(set(texts)) > 1


def test_a_guide_that_is_none_spares_its_neighbours(engine: Engine) -> None:
    before = engine.health().steps

    async def bad() -> str:
        with pytest.raises(InvalidRequest) as caught:
            await collect(engine, PROMPT[:20], guide=Guide("regex", "("))
        return str(caught.value)

    async def main() -> tuple[Step, str]:
        return await asyncio.gather(collect(engine, PROMPT[:20], max_tokens=5), bad())

    answer, message = asyncio.run(main())
    assert "guided_decoding_guide cannot be followed" in message
    assert len(answer.ids) == 5
    # it was told before a place was taken
    assert engine.health().steps - before < 12


def test_a_guide_that_becomes_too_much_ends_its_request_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ambiguous = Guide("ebnf_grammar", 'root ::= root root | [a-z] | ""')

    async def bad() -> str:
        with pytest.raises(InvalidRequest) as caught:
            await collect(engine, PROMPT[:20], guide=ambiguous, max_tokens=1500)
        return str(caught.value)

    async def main() -> tuple[str, Step]:
        return await asyncio.gather(bad(), collect(engine, PROMPT[:40], max_tokens=30))

    message, answer = asyncio.run(main())
    assert "guided_decoding_guide cannot be followed" in message
    assert len(answer.ids) == 30


def test_an_aborted_guide_is_cancelled(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any) -> None:
        return None

    before = engine.health().cancelled
    assert isinstance(engine, scheduled.Scheduled)
    monkeypatch.setattr(engine._guides, "open", never)
    answer = asyncio.run(collect(engine, PROMPT[:20], guide=NUMBER))
    assert (answer.ids, answer.finish_reason) == ((), "cancelled")
    assert engine.health().cancelled == before + 1


def test_without_the_package_guides_are_refused_by_name(
    artifact: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammars, "PACKAGE", "a_package_that_is_not_installed")
    engine = onnxruntime.create(settings, artifact.parent)
    inputs = {"guided_decoding_guide_type", "guided_decoding_guide"}
    assert inputs <= engine.unsupported
    assert {engine.lacking[name] for name in inputs} == {scheduled.LACKING}
    with pytest.raises(InvalidRequest, match="llguidance is not installed where the model runs"):
        asyncio.run(collect(engine, PROMPT[:20], guide=NUMBER))
    assert len(asyncio.run(collect(engine, PROMPT[:20])).ids) == 12
    engine.close()
