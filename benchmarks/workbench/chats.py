"""The chats that every contender is asked: as messages for servers, as ids for libraries."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from workbench.contenders import Work
from workbench.deployment import ROOT

FILE = ROOT / "benchmarks" / "prompts.jsonl"
Chat = list[dict[str, str]]


def read(path: Path = FILE) -> list[Chat]:
    """Return the chats of a file of JSON lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["messages"] for line in lines if line]


def spread(chats: Sequence[Chat], count: int) -> list[Chat]:
    """Return `count` chats from all over the list, so that any count has short and long ones."""
    return [chats[place * len(chats) // count] for place in range(count)]


class Works:
    """The work of every sample of a run, each written once."""

    def __init__(self, folder: Path, tokenizer: Path) -> None:
        self._folder, self._tokenizer = folder, tokenizer
        self._made: dict[tuple[int, int, int], Work] = {}

    def of(self, tokens: int) -> Callable[[int], Work]:
        """Return what gives the work at a concurrency: one request for each of its workers."""

        def work(level: int) -> Work:
            # one request alone says little
            requests = max(level, 3)
            key = (level, requests, tokens)
            if key not in self._made:
                self._made[key] = _work(self._folder, self._tokenizer, *key)
            return self._made[key]

        return work


def _work(folder: Path, tokenizer: Path, concurrency: int, requests: int, tokens: int) -> Work:
    from backends.text.chat import Chat as Template
    from backends.text.encoding import Encoder

    chosen = spread(read(), requests)
    file = folder / f"chats-{requests}.jsonl"
    file.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chosen), encoding="utf-8")
    template = Template(tokenizer, Encoder(tokenizer, None))
    return Work(concurrency, tokens, file, [template.encode(json.dumps(chat)) for chat in chosen])
