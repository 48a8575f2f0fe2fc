"""What is asked: the chats of prompts.jsonl, each marked, and long ones that begin alike or do not."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench import chats
from workbench.chats import Chat

from builder.measuring import prompts

Ids = list[int]


class Encoding:
    """Chats as the model's template and tokenizer write them: what a raw engine is given."""

    def __init__(self, tokenizer: Path) -> None:
        from backends.text.chat import Chat as Template
        from backends.text.encoding import Encoder

        self._template = Template(tokenizer, Encoder(tokenizer, None))

    def ids(self, chat: Chat) -> Ids:
        return list(self._template.encode(json.dumps(chat)))

    def marked(self, count: int, salt: str, run: str) -> list[Ids]:
        """Return chats, marked as the load generator marks them."""
        order = prompts.Order(chats.read(), 0, salt, run)
        return [self.ids(order.prompt(number)) for number in range(count)]

    def words(self) -> list[str]:
        """Return words that are one token each, wherever they stand in a text of such words."""
        text = {word for chat in chats.read() for message in chat for word in message["content"].split()}
        plain = sorted(word for word in text if word.isascii() and word.isalpha() and word.islower())
        empty = len(self.ids(_chat("")))
        return [word for word in plain if len(self.ids(_chat(f"{word} {word} {word}"))) == empty + 3]

    def long(self, count: int, tokens: int, alike: int, seed: str) -> list[Chat]:
        """Return chats of exactly `tokens` ids, the first `alike` of which they share.

        With 0 that is the template's beginning only. The same seed gives the same beginning, whatever the
        count; what follows it is never the same.
        """
        dice, known = random.Random(f"{seed} {count}"), self.words()
        before = _common(self.ids(_chat("a")), self.ids(_chat("b")))
        room = tokens - len(self.ids(_chat("")))
        same = random.Random(seed).choices(known, k=max(0, alike - before))
        found = [_chat(" ".join([*same, *dice.choices(known, k=room - len(same))])) for _ in range(count)]
        wrong = {len(self.ids(chat)) for chat in found} - {tokens}
        if wrong:
            raise SystemExit(f"prompts of {sorted(wrong)} tokens were made, {tokens} were meant")
        return found


def _chat(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next(
        (place for place, (a, b) in enumerate(pairs) if a != b),
        min(len(one), len(other)),
    )
