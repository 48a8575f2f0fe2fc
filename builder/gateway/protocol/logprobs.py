"""Log probabilities as chat and completions tell them; both are natural logarithms, as the front's are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from builder.gateway.triton.hearing import Piece
from builder.gateway.triton.tokens import UNFINISHED

LEAST = -9999.0
"""Stands for minus infinity, which JSON cannot say."""


def chat(piece: Piece, texts: Mapping[int, str]) -> dict[str, Any] | None:
    """Return the `logprobs` of a choice of a chat, None where the engine tells of none."""
    if not piece.ids or len(piece.log_probs) != len(piece.ids):
        return None
    return {"content": [_chat_token(piece, place, texts) for place in range(len(piece.ids))], "refusal": None}


def _chat_token(piece: Piece, place: int, texts: Mapping[int, str]) -> dict[str, Any]:
    return {
        **_token(texts[piece.ids[place]], piece.log_probs[place]),
        "top_logprobs": [_token(texts[token], value) for token, value in _tops(piece, place)],
    }


def _token(text: str, value: float) -> dict[str, Any]:
    # bytes that are no whole character cannot be told by a detokenizer, which gives text
    data = None if UNFINISHED in text else list(text.encode())
    return {"token": text, "logprob": max(value, LEAST), "bytes": data}


def _tops(piece: Piece, place: int) -> Iterator[tuple[int, float]]:
    if piece.tops is not None and place < len(piece.tops[0]):
        ids, values = piece.tops
        yield from zip(ids[place].tolist(), values[place].tolist(), strict=True)


def completion(pieces: Sequence[Piece], texts: Mapping[int, str], offset: int, tops: int) -> dict[str, Any]:
    """Return the `logprobs` of a choice of a completion; its first token begins at character `offset`."""
    tokens = [texts[token] for piece in pieces for token in piece.ids]
    offsets = []
    for text in tokens:
        offsets.append(offset)
        offset += len(text)
    return {
        "tokens": tokens,
        "token_logprobs": [max(value, LEAST) for piece in pieces for value in piece.log_probs],
        "top_logprobs": [_by_text(piece, place, texts) for piece in pieces for place in range(len(piece.ids))]
        if tops
        else None,
        "text_offset": offsets,
    }


def _by_text(piece: Piece, place: int, texts: Mapping[int, str]) -> dict[str, float]:
    """Return the likeliest tokens, the likeliest of those with one text, such as that of half a character."""
    found: dict[str, float] = {}
    for token, value in _tops(piece, place):
        found.setdefault(texts[token], max(value, LEAST))
    return found
