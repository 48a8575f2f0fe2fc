"""Numbers out of packed tensors of torch: bit fields of words, float4, and what scales make of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FLOAT4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""float4_e2m1 by its three lower bits; the fourth is the sign (OCP Microscaling Formats 1.0, 5.3.3)."""


def fields(packed: Any, bits: int) -> Any:
    """Return the unsigned numbers of int32 words [rows, words], lowest bits first: [rows, words x 32 / bits].

    `bits` divides 32.
    """
    import torch

    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    found = (packed.contiguous().unsqueeze(-1) >> shifts) & ((1 << bits) - 1)
    return found.reshape(packed.shape[0], -1)


def words(numbers: Any, bits: int) -> Any:
    """Return int32 words of unsigned numbers [rows, columns], as `fields` reads them; zeros fill the last."""
    import torch

    each = 32 // bits
    padded = torch.nn.functional.pad(numbers.long(), (0, -numbers.shape[1] % each))
    shifts = torch.arange(0, 32, bits)
    found = (padded.reshape(numbers.shape[0], -1, each) << shifts).sum(dim=2)
    # the highest bit is the sign of an int32
    return torch.where(found >= 1 << 31, found - (1 << 32), found).int().contiguous()


def float4(packed: Any) -> Any:
    """Return the float32 numbers of bytes [rows, bytes], low half first: [rows, bytes x 2]."""
    import torch

    codes = torch.stack((packed & 15, packed >> 4), dim=-1).reshape(packed.shape[0], -1).long()
    return torch.tensor([*FLOAT4, *(-number for number in FLOAT4)])[codes]


def outputs(packed: Any) -> Any:
    """Return int8, -8 to 7, of bytes [outputs / 2, inputs], the even output in the low half."""
    import torch

    signed = packed.view(torch.int8)
    # arithmetic shifts keep the sign
    return torch.stack(((signed << 4) >> 4, signed >> 4), dim=1).reshape(-1, packed.shape[1])


def scaled(numbers: Any, scale: Any, block: Sequence[int] | None) -> Any:
    """Return a matrix times its scale: one number, one for each output, or one for each block of `block`."""
    outputs, inputs = numbers.shape
    if scale.numel() == 1:
        return numbers * scale.reshape(())
    if scale.dim() == 1:
        return numbers * scale[:, None]
    rows, columns = block or (1, inputs // scale.shape[1])
    wide = scale.repeat_interleave(rows, dim=0)[:outputs].repeat_interleave(columns, dim=1)
    return numbers * wide[:, :inputs]
