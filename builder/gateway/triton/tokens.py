"""Texts of single tokens and ids of texts, by the companions that stand beside a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from builder.gateway.triton import asking, hearing
from builder.gateway.triton.connection import Connection
from builder.gateway.triton.served import Served

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""Stands for bytes that are no whole character."""


async def texts(connection: Connection, front: Served, ids: Iterable[int]) -> Mapping[int, str]:
    """Return a mapping that has the text of each of these tokens; those seen before are not asked for again.

    A token is decoded behind itself: at the start of a text its first space might be the tokenizer's own.
    A token that ends inside a character has UNFINISHED there; special tokens have no text. Raises Failure.
    """
    known = front.token_texts
    new = sorted(set(ids) - known.keys())
    for start in range(0, len(new), _ROWS):
        rows = [[one] for one in new[start : start + _ROWS]]
        inputs = [asking.integers("output_ids", rows), asking.integers("context_ids", rows)]
        request = asking.request(f"{front.name}_detokenizer", inputs, ("text_output",))
        found = (await hearing.infer(connection, request))["text_output"]
        known.update(zip(new[start : start + _ROWS], found, strict=True))
    return known


_ROWS = 64
"""The detokenizer's largest batch."""


async def text(connection: Connection, front: Served, ids: Sequence[int]) -> str:
    """Return the text that ids stand for. Raises Failure."""
    inputs = [asking.integers("output_ids", [ids])]
    request = asking.request(f"{front.name}_detokenizer", inputs, ("text_output",))
    found = (await hearing.infer(connection, request))["text_output"]
    return str(found[0])


async def ids(connection: Connection, tokenizer: Served, text: str) -> list[int]:
    """Return the ids of a text, special tokens that the tokenizer adds included. Raises Failure."""
    length = "input_lengths" if "input_lengths" in tokenizer.outputs else "num_input_tokens"
    request = asking.request(tokenizer.name, [asking.texts("text_input", [text])], ("input_ids", length))
    found = await hearing.infer(connection, request)
    return list(found["input_ids"].reshape(-1)[: int(found[length].item())].tolist())
