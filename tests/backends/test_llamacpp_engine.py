"""The engine of --target llamacpp on a tiny model, against llama.cpp used directly."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_decoders

from backends.engine import llamacpp, llamacpp_rows
from backends.engine.llamacpp_rows import LlamacppRows
from backends.engine.protocol import Engine, EngineError, InvalidRequest, Sampling, Step
from backends.engine.rows import Interrupted

pytest.importorskip("cyllama")
pytest.importorskip("gguf")
pytest.importorskip("torch")

CONTEXT, VOCABULARY = 1024, 512
PROMPT = [int(one) for one in np.random.default_rng(1).integers(3, VOCABULARY, 700)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from builder.gguf import writing

    made = tmp_path_factory.mktemp("version")
    told = tiny_decoders.config(
        "llama",
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_attention_heads=4,
        head_dim=16,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
    )
    # no larger than those of trained models: a last bit must not become another answer
    weights = {name: values / 8 for name, values in tiny_decoders.weights(told).items()}
    source = tiny_decoders.write(made / "source", told, weights)
    (made / "model").mkdir()
    writing.write(source, made / "model" / llamacpp.MODEL, lambda done, total: None)
    return made


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    settings = {
        "model": "model",
        "max_active": 4,
        "max_waiting": 64,
        "context_length": CONTEXT,
        "engine_arguments": {"threads": 1, "cache_type": "f32"},
    }
    with pytest.MonkeyPatch.context() as patch:
        # each step by itself, so that any of them can be the last that is waited for
        patch.setattr(llamacpp, "RESPONSES_A_SECOND_PER_THREAD", math.inf)
        made = llamacpp.create(settings, folder)
    yield made
    made.close()


@pytest.fixture(scope="module")
def witness(folder: Path) -> Any:
    from builder.proving import llamacpp as proving

    return proving.load(folder / "model", {"threads": 1, "cache_type": "f32"})


def rows(folder: Path, count: int = 4, capacity: int = 40) -> LlamacppRows:
    file = folder / "model" / llamacpp.MODEL
    return LlamacppRows(file, rows=count, capacity=capacity, threads=1, cache_type="f32")


async def collect(engine: Engine, ids: list[int], **options: Any) -> Step:
    steps = [step async for step in engine.generate("test", ids, Sampling(**{"max_tokens": 12, **options}))]
    tokens = tuple(token for step in steps for token in step.ids)
    values = tuple(value for step in steps for value in step.log_probs)
    return Step(tokens, values, steps[-1].finish_reason)


async def idle(engine: Engine) -> None:
    deadline = time.monotonic() + 10
    while engine.health().active:
        assert time.monotonic() < deadline, "still active"
        await asyncio.sleep(0.005)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("length", [1, 5, 512, 513, 700])
def test_greedy_equals_the_library_whatever_the_prompts_length(
    engine: Engine, witness: Any, length: int
) -> None:
    logits, expected = witness.start(PROMPT[:length], 12), []
    for _ in range(12):
        expected.append(int(logits.argmax()))
        logits = witness.append(expected[-1])
    found = asyncio.run(collect(engine, PROMPT[:length]))
    assert list(found.ids) == expected
    assert found.finish_reason == "length"


@pytest.mark.parametrize("length", [2, 513, 700])
def test_score_is_the_log_softmax_of_the_raw_logits(engine: Engine, witness: Any, length: int) -> None:
    ids = PROMPT[:length]
    expected = log_softmax(witness.read(ids))[np.arange(length - 1), ids[1:]]
    assert np.allclose(asyncio.run(engine.score(ids)), expected, atol=1e-3)


def test_those_who_come_and_go_disturb_nobody(engine: Engine) -> None:
    steady = [PROMPT[start : start + 10 + start] for start in (1, 20, 33)]

    async def passing(place: int) -> None:
        async with aclosing(engine.generate("gone", PROMPT[place:][:99], Sampling(max_tokens=50))) as steps:
            for _ in range(place % 5 + 1):
                await anext(steps)

    async def main() -> list[Step]:
        lasting = asyncio.gather(*(collect(engine, ids, max_tokens=60) for ids in steady))
        scored = asyncio.gather(*(engine.score(ids) for ids in steady))
        await asyncio.gather(*(passing(place) for place in range(20)))
        for found, expected in zip(await scored, scores, strict=True):
            assert np.allclose(found, expected, atol=1e-4)
        return await lasting

    scores = [asyncio.run(engine.score(ids)) for ids in steady]
    alone = [asyncio.run(collect(engine, ids, max_tokens=60)) for ids in steady]
    assert asyncio.run(main()) == alone
    asyncio.run(idle(engine))
    assert engine.health().waiting == 0


def test_leaving_stops_the_engine(engine: Engine) -> None:
    async def main() -> None:
        async with aclosing(engine.generate("left", PROMPT[:9], Sampling(max_tokens=1000))) as steps:
            await anext(steps)
        await idle(engine)

    before = engine.health().generated_tokens
    asyncio.run(main())
    assert engine.health().generated_tokens - before < 1000


def test_a_failing_sequence_spares_its_neighbours(engine: Engine) -> None:
    async def bad() -> None:
        forbidding = Sampling(max_tokens=5, bad_ids=tuple((token,) for token in range(VOCABULARY)))
        with pytest.raises(EngineError, match="forbid every token"):
            async for _ in engine.generate("bad", PROMPT[:20], forbidding):
                pass

    async def main() -> Step:
        found, _ = await asyncio.gather(collect(engine, PROMPT[:40], max_tokens=30), bad())
        return found

    assert asyncio.run(main()) == asyncio.run(collect(engine, PROMPT[:40], max_tokens=30))


def test_what_does_not_fit_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="700 tokens and max_tokens is 325, the context holds 1024"):
        asyncio.run(collect(engine, PROMPT, max_tokens=325))


def test_rows_answer_as_the_library_does_for_each_alone(folder: Path, witness: Any) -> None:
    made = rows(folder)
    texts = [PROMPT[row * 7 : row * 7 + 3 + row] for row in range(4)]
    for row, ids in enumerate(texts):
        found = made.read(row, ids, every=True)
        assert np.allclose(found, witness.read([*ids, 0]), atol=1e-4)
    made.step([5, 6])
    made.clear(0)
    made.move(3, 0, exchanging=True)
    held = [texts[3], [*texts[1], 6], texts[2], []]
    stepped = made.step([7, 8, 9])
    for row, token in enumerate((7, 8, 9)):
        assert np.allclose(stepped[row], witness.start([*held[row], token], 1), atol=1e-4)
    # the one that was cleared knows nothing of before
    assert np.allclose(made.read(3, PROMPT[:9], every=False)[0], witness.start(PROMPT[:9], 1), atol=1e-4)
    made.close()


def test_rows_hold_no_more_than_they_were_made_for(folder: Path) -> None:
    made = rows(folder, count=2)
    made.read(0, PROMPT[:39], every=False)
    before = made.step([5])
    with pytest.raises(ValueError, match="a row of 40 tokens cannot hold 41"):
        made.step([5])
    with pytest.raises(ValueError, match="a row of 40 tokens cannot hold 41"):
        made.read(1, PROMPT[:41], every=False)
    # what did not fit is not half there
    made.clear(0)
    made.read(0, PROMPT[:39], every=False)
    assert np.array_equal(made.step([5]), before)
    made.close()


def test_a_reading_that_is_interrupted_leaves_the_rows_as_they_were(folder: Path) -> None:
    made, undisturbed = rows(folder, capacity=700), rows(folder, capacity=700)
    for each in (made, undisturbed):
        each.read(0, PROMPT[:20], every=False)
    made.interrupt()
    with pytest.raises(Interrupted):
        made.read(0, PROMPT[20:690], every=False)
    with pytest.raises(Interrupted):
        threading.Timer(0.0, made.interrupt).start()
        while True:
            made.read(1, PROMPT, every=False)
            made.clear(1)
    assert np.array_equal(made.step([7]), undisturbed.step([7]))
    assert np.allclose(made.read(2, PROMPT[:9], every=True), undisturbed.read(2, PROMPT[:9], every=True))
    made.close()
    undisturbed.close()


def test_a_batch_holds_what_one_run_computes(folder: Path) -> None:
    made = rows(folder, count=1, capacity=700)
    found = made.read(0, PROMPT[: llamacpp_rows.MOST_TOKENS + 1], every=True)
    assert found.shape == (llamacpp_rows.MOST_TOKENS + 1, VOCABULARY)
    made.close()
