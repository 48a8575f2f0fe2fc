"""Rows of different lengths in one run of a text encoder, without computing on padding.

Triton hands the token ids of a whole batch over flat, one row after the other, with the tokens and the
width of each row: the width counts what lies behind a row to fill its request up. The graph keeps them
flat, [1, ids], from the embeddings to the last layer; attention alone, and what comes after the last layer,
see [rows, longest]. So a text costs what it costs alone, whatever it shares its batch with; the idea is that
of https://arxiv.org/abs/2210.03052 (ByteTransformer).

Every shape follows from the shapes of the inputs: a GPU never waits for the processor to learn one, and
TensorRT can build an engine.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from builder.exporting import fused_attention

ATTENTION = "builder_packed"
"""The name under which transformers finds `attention`."""

_NOTHING = -3e4
"""Far below any score, and still a float16 when a score is added."""
_current: list[Packing] = []


class Packing:
    """Where every token of a batch lies: flat as it came, and in rows.

    Args:
        tokens: int32 [rows], the tokens of each row.
        widths: int32 [rows], how many of the flat ids each row takes, what fills it up counted.
        ids: how many ids there are, the sum of the widths.
        longest: at least the tokens of the longest row.
        fused: whether attention is the one operator that ONNX Runtime has for it.
    """

    def __init__(
        self, tokens: Tensor, widths: Tensor, ids: int, longest: int, *, fused: bool = False
    ) -> None:
        self.tokens = tokens
        self.fused = fused
        self.place = torch.arange(longest, dtype=torch.int32)[None]
        """[1, longest]: the place of a token in its row."""
        self.is_token = self.place < tokens[:, None]
        """[rows, longest]: what is no padding."""
        begins = widths.cumsum(0, dtype=torch.int32) - widths
        self._to_rows = torch.where(self.is_token, begins[:, None] + self.place, 0)
        every = torch.arange(ids, dtype=torch.int32)
        row = (every[:, None] >= begins[None]).sum(1, dtype=torch.int32) - 1
        # what fills a row up may lie behind the last position that the model has
        last = (tokens - 1).index_select(0, row)
        self.places = torch.minimum(every - begins.index_select(0, row), last)[None]
        """[1, ids]: the place of every id in its row."""
        # taken from a tensor, not from the number: what a shape says lies in the processor's memory
        width = self.place[0, -1:] + 1
        self._to_flat = row * width + self.places[0]
        self._masks: dict[int | None, Tensor] = {}

    def laid_out(self, ids: Tensor, pad: int) -> Tensor:
        """Return flat ids, [1, ids], in rows, [rows, longest], padded with `pad`."""
        return torch.where(
            self.is_token, ids[0].index_select(0, self._to_rows.flatten()).view_as(self._to_rows), pad
        )

    def packed(self, rows: Tensor) -> Tensor:
        """Return [rows * longest, ...] as [ids, ...]."""
        return rows.index_select(0, self._to_flat)

    def unpacked(self, tokens: Tensor) -> Tensor:
        """Return [ids, size] as [rows, longest, size]; padding repeats the first token."""
        return nn.functional.embedding(self._to_rows, tokens)

    def mask(self, sliding_window: int | None, dtype: torch.dtype) -> Tensor:
        """Return what is added to attention scores, [rows, 1, 1 or longest, longest]."""
        if sliding_window not in self._masks:
            seen = self.is_token[:, None, None, :]
            if sliding_window:
                seen = seen & ((self.place.T - self.place).abs() < sliding_window)
            self._masks[sliding_window] = torch.where(seen, 0.0, _NOTHING).to(dtype)
        return self._masks[sliding_window]


@contextmanager
def used(packing: Packing) -> Iterator[None]:
    """Let the layers of a model that was made `packable` work on this packing."""
    _current.append(packing)
    try:
        yield
    finally:
        _current.pop()


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend within each row: from query, key, value [1, heads, tokens, size] to [1, tokens, heads, size].

    Scaled dot-product attention (https://arxiv.org/abs/1706.03762, 3.2.1); with `sliding_window` a token
    sees those that are less than so many places away.
    """
    packing = _current[-1]
    heads, size = query.shape[1], query.shape[3]
    scale = float(scaling if scaling is not None else size**-0.5)
    rows = [packing.unpacked(one.transpose(1, 2).reshape(-1, heads * size)) for one in (query, key, value)]
    if packing.fused and not sliding_window:
        mixed = fused_attention.attend(rows[0], rows[1], rows[2], packing.tokens, heads, scale)
    else:
        by_head = [one.unflatten(2, (heads, size)).transpose(1, 2) for one in rows]
        scores = by_head[0] @ by_head[1].transpose(-1, -2) * scale
        weights = torch.softmax(scores + packing.mask(sliding_window, scores.dtype), dim=-1)
        mixed = (weights @ by_head[2]).transpose(1, 2)
    return packing.packed(mixed.reshape(-1, heads * size)).view(1, -1, heads, size), None


def make_packable(model: Any) -> bool:
    """Let the layers of a transformers model work packed; return False for a family that cannot.

    A family can whose attention is transformers' own interface and which is told the positions of its
    tokens; the others keep to [rows, longest].
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    layers = _layers(model)
    is_told_positions = "position_ids" in inspect.signature(model.forward).parameters
    if not getattr(type(model), "_supports_attention_backend", False) or not is_told_positions or not layers:
        return False
    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, lambda *arguments, **options: None)
    model.set_attn_implementation(ATTENTION)
    layers[-1].register_forward_hook(_unpack)
    return True


def _layers(model: Any) -> list[nn.Module]:
    number = model.config.num_hidden_layers
    lists = (part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == number)
    return list(next(lists, []))


def _unpack(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
    packing = _current[-1]
    if isinstance(output, tuple):
        return (packing.unpacked(output[0].squeeze(0)), *output[1:])
    return packing.unpacked(output.squeeze(0))
