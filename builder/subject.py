"""Subject: one served front, as its folder describes it and as the server answers for it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from builder.golden import Golden, GoldenPrompt, first_difference, parting_gap
from builder.served import Repository
from builder.triton_client import Answer, Client, TritonError

LOAD = ("builder_engine_active_requests", "builder_engine_waiting_requests")
GENERATED = "builder_engine_generated_tokens_total"
NOT_BESIDE_GUESSES = frozenset({"min_p", "logit_bias"})
"""What vLLM refuses by name where it guesses tokens ahead."""
REST = 3
"""How many looks, 40 ms apart, must see the same; the front publishes every 50 ms."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Mismatch(Exception):
    """The server answered, but not what it should have; the text says both."""


class Skipped(Exception):
    """This deployment has nothing that the check could look at; the text says what is missing."""


@dataclass(frozen=True)
class Whole:
    """What the checks of a whole repository are given: its folder and the way to the server."""

    repository: Repository
    client: Client


def expect(holds: bool, otherwise: str) -> None:
    """Raise Mismatch with `otherwise` unless `holds`."""
    if not holds:
        raise Mismatch(otherwise)


def together(ask: Callable[[Item], Result], items: Iterable[Item], most: int | None = None) -> list[Result]:
    """Call `ask` for all items at once, or `most` at a time; return the results in order.

    The first exception is raised.
    """
    listed = list(items)
    with ThreadPoolExecutor(most or len(listed)) as pool:
        return list(pool.map(ask, listed))


class Subject:
    """What the checks of `verifications/` are given.

    Args:
        name: the front's model name; `folder` is its served version folder.
        golden: the recorded answers.
        client: the way to the server.
    """

    def __init__(self, name: str, folder: Path, golden: Golden, client: Client) -> None:
        self.name = name
        self.folder = folder
        self.golden = golden
        self.client = client
        self.settings: dict[str, Any] = json.loads((folder / "settings.json").read_text())
        self.end_ids = frozenset(self.settings.get("end_ids", ()))
        self._wholes: dict[tuple[str, int], Answer] = {}

    # -- what the folder says ---------------------------------------------------------------------

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the version folder, run here, independent of the served one."""
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self.folder / "tokenizer" / "tokenizer.json"))

    def encode(self, text: str, *, control: bool = True) -> list[int]:
        """Return the ids of a text without BOS; with `control` false, control tokens in it are mere text."""
        self.tokenizer.encode_special_tokens = not control
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without control tokens and without an unfinished character at its end."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).rstrip("\ufffd")

    def visible(self, ids: Sequence[int]) -> list[int]:
        """Return ids without the end token, which is no part of the answer."""
        return [token for token in ids if token not in self.end_ids]

    def companion(self, suffix: str) -> str:
        """Return the name of a model beside the front, such as NAME_tokenizer; skip the check without it."""
        name = f"{self.name}_{suffix}"
        if name not in self.client.configs:
            raise Skipped(f"the repository holds no {name}")
        return name

    # -- asking -----------------------------------------------------------------------------------

    def inputs(self, prompt: GoldenPrompt, **more: Any) -> dict[str, Any]:
        """Return a golden prompt as inputs: its text where that is the whole truth, else its messages."""
        if prompt.messages is not None and tuple(self.encode(prompt.text)) != prompt.input_ids:
            return {"messages": json.dumps(prompt.messages), **more}
        return {"text_input": prompt.text, **more}

    def prompt(self, number: int = 0, tokens: int = 12) -> GoldenPrompt:
        """Return a prompt with a long answer that is safe from rounding."""
        prompts = self.golden.steady(number + 1, tokens)
        return prompts[min(number, len(prompts) - 1)]

    def ask(self, inputs: Mapping[str, Any], **options: Any) -> Answer:
        """Ask the front over a gRPC stream; an error is a Mismatch."""
        self._require_taken(inputs)
        return self.good(self.client.stream(self.name, inputs, **options))

    def _require_taken(self, inputs: Mapping[str, Any]) -> None:
        """Skip the check where its inputs cannot be asked of an engine that guesses tokens ahead."""
        if self.settings.get("engine_arguments", {}).get("speculative_config"):
            for name in NOT_BESIDE_GUESSES.intersection(inputs):
                raise Skipped(f"the engine guesses tokens ahead, and takes no {name} then")

    @staticmethod
    def good(answer: Answer) -> Answer:
        """Return an answer that holds responses and no error; raise Mismatch for any other."""
        expect(answer.error is None, f"the server answered an error: {answer.error}")
        expect(bool(answer.replies), "the server answered nothing")
        return answer

    def whole(self, prompt: GoldenPrompt, max_tokens: int) -> Answer:
        """Return the front's unstreamed answer, asked once however many checks need it."""
        key = (prompt.id, max_tokens)
        if key not in self._wholes:
            self._wholes[key] = self.ask(self.inputs(prompt, max_tokens=max_tokens))
        return self._wholes[key]

    @cached_property
    def recorded(self) -> list[tuple[GoldenPrompt, Answer]]:
        """Every golden prompt, streamed over gRPC, as many at once as are active, to its full length."""

        def ask(prompt: GoldenPrompt) -> Answer:
            return self.ask(self.inputs(prompt, max_tokens=prompt.max_tokens, stream=True))

        # one more would wait in line, in silence, for as long as a slow machine takes
        answers = together(ask, self.golden.prompts, most=int(self.settings["max_active"]))
        return list(zip(self.golden.prompts, answers, strict=True))

    # -- judging ----------------------------------------------------------------------------------

    def follows(self, prompt: GoldenPrompt, ids: Sequence[int], max_tokens: int) -> bool:
        """Return True when ids are the golden ones, False when they part where two tokens were as likely.

        Raises Mismatch when they part where the recorded gap is above epsilon.
        """
        expected = self.visible(prompt.output_ids[:max_tokens])
        seen = self.visible(ids)
        index = first_difference(expected, seen)
        if index is None:
            return True
        gap = prompt.gaps[index] if index < len(prompt.gaps) else float("inf")
        expect(
            gap <= self.golden.epsilon,
            f"prompt {prompt.id!r}: token {index} is {seen[index : index + 1]}, golden is "
            f"{expected[index : index + 1]} (gap {gap:.3g}, epsilon {self.golden.epsilon:g})",
        )
        return False

    def agree(self, prompt: GoldenPrompt, seen: str, expected: str, told: str = "") -> bool:
        """Return True when two texts of one greedy answer are equal, False when a tie made them two answers.

        Raises Mismatch when they differ for no such reason; `told` says how, without it both are quoted.
        """
        if seen == expected:
            return True
        tied = self._left_at_tie(prompt, seen) or self._left_at_tie(prompt, expected)
        expect(tied, told or f"prompt {prompt.id!r}: {seen!r}, expected {expected!r}")
        return False

    def _left_at_tie(self, prompt: GoldenPrompt, text: str) -> bool:
        ids = self.visible(prompt.output_ids)
        gap = parting_gap([self.decode(ids[: end + 1]) for end in range(len(ids))], prompt.gaps, text)
        return gap is not None and gap <= self.golden.epsilon

    def still_works(self) -> None:
        """Expect a short golden answer, as proof that what came before broke nothing."""
        prompt = self.prompt(tokens=1)
        try:
            answer = self.ask(self.inputs(prompt, max_tokens=1))
            self.follows(prompt, answer.ids(), 1)
        except (Mismatch, TritonError) as error:
            raise Mismatch(f"the request after it failed: {error}") from error

    def refused(self, answer: Answer, what: str, *mentions: str) -> str:
        """Expect an error that holds every word of `mentions`; return it."""
        if answer.error is None:
            text = answer.text()[:40] if answer.replies else ""
            raise Mismatch(f"{what}: answered {text!r}, expected an error")
        missing = [word for word in mentions if word not in answer.error]
        expect(not missing, f"{what}: the error does not name {', '.join(missing)}: {answer.error}")
        return answer.error

    def refuses(self, cases: Mapping[str, tuple[Mapping[str, Any], Sequence[str]]]) -> str:
        """Expect each case's inputs to be refused with its words, and a good answer after each."""
        error = ""
        for what, (inputs, mentions) in cases.items():
            error = self.refused(self.client.stream(self.name, inputs), what, *mentions)
            self.still_works()
        return f"{len(cases)} refused, the last with: {shortened(error)}"

    # -- the engine's own counters ----------------------------------------------------------------

    def counter(self, family: str) -> float:
        """Return one of the front's metrics; skip the check where no metrics can be read."""
        return self.counters(family)[0]

    def counters(self, *families: str) -> list[float]:
        """Return several metrics of the same moment."""
        if self.client.metrics_address is None:
            raise Skipped("no metrics address was given")
        label = f'model="{self.name}"'
        values = {name: value for (name, labels), value in self.client.metrics().items() if label in labels}
        missing = [family for family in families if family not in values]
        expect(not missing, f"the metrics endpoint has no {', '.join(missing)} for {self.name}")
        return [values[family] for family in families]

    def idle(self, seconds: float = 10.0) -> bool:
        """Return whether within `seconds` nothing was active or waiting, and the counters came to rest."""
        seen: list[list[float]] = []

        def rests() -> bool:
            seen.append(self.counters(*LOAD, GENERATED))
            # counters are published a moment after what they count
            return sum(seen[-1][:2]) == 0 and len(seen) > REST and seen[-1] == seen[-1 - REST]

        return self.client.until(rests, seconds, every=0.04)


def numbers(text: str) -> set[int]:
    """Return the whole numbers in a message, thousands separators or not."""
    return {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", text)}


def shortened(text: str, length: int = 90) -> str:
    """Return the first line of a message, cut to `length`."""
    line = text.splitlines()[0] if text else ""
    return line if len(line) <= length else line[: length - 3] + "..."
