"""The engine of --target onnx on a tiny model, against the library used directly."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.engine import onnxruntime_genai as engine_module
from backends.engine.protocol import InvalidRequest, Sampling, Step

PROMPT = list(np.random.default_rng(1).integers(20, 49000, 600))


@pytest.fixture(scope="module")
def engine(artifact: Path, settings: dict[str, Any]) -> Iterator[engine_module.OnnxruntimeGenai]:
    made = engine_module.create(settings, artifact.parent)
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


async def collect(engine: engine_module.OnnxruntimeGenai, ids: list[int], **options: Any) -> Step:
    sampling = Sampling(**{"max_tokens": 12, **options})
    steps = [step async for step in engine.generate("test", ids, sampling)]
    tokens = tuple(token for step in steps for token in step.ids)
    values = tuple(value for step in steps for value in step.log_probs)
    return Step(tokens, values, steps[-1].finish_reason)


@pytest.mark.parametrize("length", [1, 5, 256, 257, 600])
def test_greedy_equals_the_library_whatever_the_prompts_length(
    engine: engine_module.OnnxruntimeGenai, library_model: Any, length: int
) -> None:
    expected, _ = raw(library_model, PROMPT[:length], 12)
    found = asyncio.run(collect(engine, PROMPT[:length]))
    assert list(found.ids) == expected
    assert found.finish_reason == "length"


def test_a_prompt_in_pieces_equals_the_prompt_at_once(
    engine: engine_module.OnnxruntimeGenai, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = asyncio.run(collect(engine, PROMPT, log_probs=True))
    before = engine.health().steps
    monkeypatch.setattr(engine_module, "PROMPT_TOKENS_A_TURN", 10_000)
    whole = asyncio.run(collect(engine, PROMPT, log_probs=True))
    assert engine.health().steps - before == 12
    assert pieces.ids == whole.ids
    assert np.allclose(pieces.log_probs, whole.log_probs, atol=1e-4)


def test_a_growing_cache_changes_nothing(
    engine: engine_module.OnnxruntimeGenai, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = asyncio.run(collect(engine, PROMPT[:300]))
    monkeypatch.setattr(engine_module, "SHARED_CACHE_TOKENS", 0)
    assert asyncio.run(collect(engine, PROMPT[:300])) == shared


@pytest.mark.parametrize("length", [2, 256, 257, 600])
def test_score_is_the_log_softmax_of_the_raw_logits(
    engine: engine_module.OnnxruntimeGenai, library_model: Any, length: int
) -> None:
    ids = PROMPT[:length]
    _, rows = raw(library_model, ids, 1)
    expected = log_softmax(rows)[np.arange(length - 1), ids[1:]]
    found = asyncio.run(engine.score(ids))
    assert len(found) == length - 1
    assert np.allclose(found, expected, atol=1e-3)


def test_score_of_one_token_is_empty(engine: engine_module.OnnxruntimeGenai) -> None:
    assert asyncio.run(engine.score([5])) == []


def test_log_probs_of_the_answer_equal_its_score(engine: engine_module.OnnxruntimeGenai) -> None:
    answer = asyncio.run(collect(engine, PROMPT[:20], log_probs=True))
    scores = asyncio.run(engine.score([*PROMPT[:20], *answer.ids]))
    assert np.allclose(answer.log_probs, scores[19:], atol=1e-3)


def test_interleaved_sequences_equal_those_alone(engine: engine_module.OnnxruntimeGenai) -> None:
    cases = [
        (PROMPT[start : start + size], seed) for start, size, seed in ((0, 9, 1), (50, 300, 2), (7, 30, 3))
    ]

    async def one(ids: list[int], seed: int) -> Step:
        return await collect(engine, ids, temperature=1.0, seed=seed, max_tokens=30)

    async def together() -> list[Step]:
        return await asyncio.gather(*(one(*case) for case in cases))

    alone = [asyncio.run(one(*case)) for case in cases]
    assert asyncio.run(together()) == alone


def test_an_end_id_ends_the_answer_and_is_not_part_of_it(engine: engine_module.OnnxruntimeGenai) -> None:
    whole = asyncio.run(collect(engine, PROMPT[:9])).ids
    place = next(place for place, token in enumerate(whole) if place and token not in whole[:place])
    ended = asyncio.run(collect(engine, PROMPT[:9], end_ids=frozenset({whole[place]})))
    assert (ended.ids, ended.finish_reason) == (whole[:place], "stop")


def test_leaving_stops_the_engine(engine: engine_module.OnnxruntimeGenai) -> None:
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


def test_what_does_not_fit_is_refused(engine: engine_module.OnnxruntimeGenai) -> None:
    with pytest.raises(InvalidRequest, match="600 tokens and max_tokens is 1449, the context holds 2048"):
        asyncio.run(collect(engine, PROMPT, max_tokens=1449))
