"""From steps to responses, with an engine that says what the test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.engine.protocol import Health, Sampling, Step, Top
from backends.front.generation import Chunk, generate, join
from backends.front.outputs import KEPT, SHORT, Maker, Outputs
from backends.front.reasoning import Splitter
from backends.front.request import Request
from backends.front.timings import Stopwatch, Timings
from backends.text.decoding import CONTEXT_IDS, Vocabulary, decode
from backends.text.encoding import Encoder
from ensembles.text_generation import FRONT

THINK = {"start": "<think>", "end": "</think>"}


class Scripted:
    """Yields the steps it was given and knows whether it was left before its end."""

    name = "scripted"
    unsupported: frozenset[str] = frozenset()

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self.yielded = 0
        self.closed = False
        self.seen: list[Sampling] = []

    async def generate(self, request: str, ids: Sequence[int], sampling: Sampling) -> AsyncIterator[Step]:
        self.seen.append(sampling)
        try:
            for step in self.steps:
                self.yielded += 1
                yield step
        finally:
            self.closed = True

    async def score(self, ids: Sequence[int]) -> list[float]:
        return []

    def abort(self, request: str) -> None:
        pass

    def health(self) -> Health:
        return Health(0, 0, 0, 0, 0)

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def vocabulary(tokenizer_folder: Path) -> Vocabulary:
    return Vocabulary.load(tokenizer_folder / "tokenizer.json")


def top_of(token: int) -> Top:
    """Return what is likeliest where this token was chosen."""
    return (token, -token / 4), (token + 1, -token / 2)


def steps_of(ids: Sequence[int], sizes: Sequence[int] = (), reason: str = "length") -> list[Step]:
    """Cut ids into steps of the given sizes, then of one; each id's log probability is -id / 4."""
    steps, rest, sizes = [], list(ids), list(sizes)
    while rest:
        size = sizes.pop(0) if sizes else 1
        part, rest = rest[:size], rest[size:]
        values = tuple(-token / 4 for token in part)
        steps.append(Step(tuple(part), values, None if rest else reason, tops=tuple(map(top_of, part))))
    return steps


def stopwatch() -> Stopwatch:
    return Stopwatch(Timings(), 0.0, 1)


def run(
    engine: Scripted, vocabulary: Vocabulary, reasoning: Any = None, sequence: int = 0, **options: Any
) -> list[Chunk]:
    request = Request(
        **{"ids": (5,), "prompt_text": "prompt", "sampling": Sampling(max_tokens=99, seed=5), **options}
    )

    async def collect() -> list[Chunk]:
        steps = engine.generate("0", request.ids, request.sampling_of(sequence))
        chunks = generate(steps, request, sequence, vocabulary, reasoning, stopwatch())
        async with aclosing(chunks) as made:
            return [chunk async for chunk in made]

    return asyncio.run(collect())


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


SIZES = st.lists(st.integers(1, 5), max_size=30)


@given(text=st.text(max_size=30), sizes=SIZES)
def test_streamed_text_is_the_text(
    vocabulary: Vocabulary, encoder: Encoder, text: str, sizes: list[int]
) -> None:
    ids = encoder.encode_plain(text)
    text = decode(vocabulary, ids)  # the vocabulary lacks a few bytes, which no text keeps
    if not ids:
        return
    chunks = run(Scripted(steps_of(ids, sizes)), vocabulary)
    assert text_of(chunks) == text
    assert join(chunks).text == text
    assert join(chunks).ids == tuple(ids)
    assert [chunk.finish_reason for chunk in chunks] == [*[""] * (len(chunks) - 1), "length"]
    assert "".join(decode(vocabulary, chunk.ids, chunk.context_ids) for chunk in chunks) == text


@given(sizes=SIZES)
def test_a_stop_across_tokens_ends_the_engine_however_steps_pile_up(
    vocabulary: Vocabulary, encoder: Encoder, sizes: list[int]
) -> None:
    ids = encoder.encode_plain("The answer is four. END of the story, and more of it.")
    engine = Scripted(steps_of(ids, sizes))
    chunks = run(engine, vocabulary, stops=("D of",))
    assert text_of(chunks) == "The answer is four. EN"
    assert chunks[-1].finish_reason == "stop"
    end = next(size for size in range(len(ids)) if "D of" in decode(vocabulary, ids[:size]))
    assert join(chunks).ids == tuple(ids[:end])
    assert chunks[-1].output_tokens == end
    assert len(join(chunks).log_probs) == end
    assert join(chunks).tops == tuple(map(top_of, ids[:end]))
    assert all(len(chunk.tops) == len(chunk.ids) for chunk in chunks)
    assert engine.closed
    assert engine.yielded == len(chunks)


def test_text_held_for_a_stop_is_given_at_the_end(vocabulary: Vocabulary, encoder: Encoder) -> None:
    chunks = run(Scripted(steps_of(encoder.encode_plain("wait EN"))), vocabulary, stops=("END",))
    assert text_of(chunks) == "wait EN"
    assert "EN" not in text_of(chunks[:-1])


@pytest.mark.parametrize("reason", ["stop", "length", "cancelled"])
def test_finish_reasons_pass_through(vocabulary: Vocabulary, reason: str) -> None:
    chunks = run(Scripted([*steps_of([500, 501])[:1], Step((), (), reason)]), vocabulary)
    assert [chunk.finish_reason for chunk in chunks] == ["", reason]
    assert chunks[-1].output_tokens == 1


def test_leaving_early_closes_the_engine(vocabulary: Vocabulary) -> None:
    engine = Scripted(steps_of(range(500, 520)))
    request = Request((5,), "", Sampling(max_tokens=99))

    async def leave() -> None:
        steps = engine.generate("0", request.ids, request.sampling)
        async with aclosing(generate(steps, request, 0, vocabulary, None, stopwatch())) as chunks:
            await anext(chunks)

    asyncio.run(leave())
    assert engine.closed
    assert engine.yielded == 1


def test_echo_comes_once_and_first(vocabulary: Vocabulary, encoder: Encoder) -> None:
    chunks = run(Scripted(steps_of(encoder.encode_plain(" and more"))), vocabulary, echo=True)
    assert text_of(chunks) == "prompt and more"
    assert chunks[0].text.startswith("prompt")


def test_context_ids_are_the_last_before(vocabulary: Vocabulary) -> None:
    ids = list(range(500, 530))
    chunks = run(Scripted(steps_of(ids, [1, 3, 20])), vocabulary)
    done = 0
    for chunk in chunks:
        assert list(chunk.context_ids) == ids[max(0, done - CONTEXT_IDS) : done]
        done += len(chunk.ids)
    assert join(chunks).context_ids == ()


def test_log_probabilities_add_up(vocabulary: Vocabulary) -> None:
    chunks = run(Scripted(steps_of([4, 8, 12], [2])), vocabulary)
    assert [chunk.cumulative for chunk in chunks] == [-3.0, -6.0]
    assert join(chunks).log_probs == (-1.0, -2.0, -3.0)
    assert (join(chunks).cumulative, join(chunks).output_tokens) == (-6.0, 3)


def test_sequences_have_their_number_and_seed(vocabulary: Vocabulary) -> None:
    for place in (0, 2):
        engine = Scripted(steps_of([500]))
        assert run(engine, vocabulary, sequence=place)[0].sequence == place
        assert engine.seen[0].seed == 5 + place


@given(sizes=SIZES)
def test_reasoning_is_split_wherever_the_tokens_break(
    vocabulary: Vocabulary, encoder: Encoder, sizes: list[int]
) -> None:
    ids = encoder.encode_plain("<think>a < b</think>So <b>yes</b>.")
    chunks = run(Scripted(steps_of(ids, sizes)), vocabulary, THINK)
    assert text_of(chunks) == "So <b>yes</b>."
    assert "".join(chunk.reasoning for chunk in chunks) == "a < b"


@given(
    pieces=st.lists(st.sampled_from(["<think>", "</think>", "<th", "ink>", "</", "a", "<", ">"])),
    data=st.data(),
)
def test_splitting_depends_on_the_text_alone(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    one, many = Splitter(THINK), Splitter(THINK)
    parts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    found = [*(many.push(part) for part in parts), many.flush()]
    expected = [one.push(text), one.flush()]
    assert ["".join(part) for part in zip(*found, strict=True)] == [
        "".join(part) for part in zip(*expected, strict=True)
    ]


def test_unfinished_reasoning_is_reasoning(vocabulary: Vocabulary, encoder: Encoder) -> None:
    chunks = run(Scripted(steps_of(encoder.encode_plain("<think>so </thi"))), vocabulary, THINK)
    assert (text_of(chunks), "".join(chunk.reasoning for chunk in chunks)) == ("", "so </thi")


def arrays(chunk: Chunk, names: list[str]) -> dict[str, Any]:
    """Return what a response of a prompt of 3 tokens holds, by output."""
    return dict(Outputs(Maker(lambda name, array: (name, array)), names).of(chunk, 3, ()))


def test_outputs_have_the_types_of_the_contract() -> None:
    tops = ((7, -0.5), (3, -1.0), (9, -2.5)), ((2, -0.25), (8, -1.0), (7, -4.0))
    chunk = Chunk("é", "", (7, 8), (), (-0.5, -1.0), -1.5, 2, 1, "stop", tops)
    names = [tensor.name for tensor in FRONT.outputs]
    made = arrays(chunk, names)
    assert list(made) == names
    assert list(arrays(chunk, ["text_output"])) == ["text_output"]
    shapes = {name: array.shape for name, array in made.items()}
    assert {name for name, shape in shapes.items() if shape != (1, 1)} == {
        "output_ids",
        "context_ids",
        "output_log_probs",
        "output_top_ids",
        "output_top_log_probs",
        "prompt_log_probs",
    }
    assert made["output_top_ids"].tolist() == [[[7, 3, 9], [2, 8, 7]]]
    assert made["output_top_log_probs"].tolist() == [[[-0.5, -1.0, -2.5], [-0.25, -1.0, -4.0]]]
    assert (made["output_top_ids"].dtype, made["output_top_log_probs"].dtype) == (np.int32, np.float32)
    assert shapes["output_ids"] == (1, 2)
    assert shapes["context_ids"] == shapes["prompt_log_probs"] == (1, 0)
    assert made["text_output"][0, 0] == "é".encode()
    assert made["output_ids"].dtype == made["num_input_tokens"].dtype == np.int32
    assert made["cum_log_probs"].dtype == made["output_log_probs"].dtype == np.float32
    assert arrays(chunk._replace(tops=()), ["output_top_ids"])["output_top_ids"].shape == (1, 0, 0)


def test_what_responses_say_alike_is_made_once_and_each_says_what_it_is_given() -> None:
    names = [tensor.name for tensor in FRONT.outputs]
    made: list[str] = []

    def tensor(name: str, array: Any) -> tuple[str, Any]:
        made.append(name)
        return name, array

    maker = Maker(tensor)
    outputs = Outputs(maker, names)
    for chunk, anew in (
        (Chunk("a", "", (7,), (), (), 0.0, 1, 0, ""), len(names)),
        (Chunk("b", "", (8,), (7,), (), 0.0, 2, 0, ""), 4),  # text, ids, those before, their count
        (Chunk("", "thought", (9,), (7, 8), (-0.5,), -0.5, 3, 1, "stop", (((9, -0.5),),)), 11),
        (Chunk("b", "", (), (7, 8, 9), (), 0.0, 2, 0, ""), 2),  # no ids, those before: all else was said
    ):
        made.clear()
        found = outputs.of(chunk, 3, ())
        assert [name for name, _ in found] == names
        assert {name: (array.tolist(), array.dtype) for name, array in found} == {
            name: (array.tolist(), array.dtype) for name, array in arrays(chunk, names).items()
        }
        assert len(made) == anew
    # another answer of the same thread says most of it, too
    made.clear()
    Outputs(maker, names).of(Chunk("a", "", (7,), (), (), 0.0, 2, 0, ""), 3, ())
    assert made == ["output_ids"]


def test_long_values_are_not_kept_and_neither_are_many() -> None:
    made: list[str] = []
    maker = Maker(lambda name, array: made.append(name))
    for text, anew in (("a" * SHORT, 1), ("a" * (SHORT + 1), 2)):
        made.clear()
        for _ in range(2):
            maker.make("text_output", text)
        assert len(made) == anew
    for count in [*range(KEPT + 1), 0]:
        made.clear()
        maker.make("num_output_tokens", count)
    assert made == ["num_output_tokens"]
