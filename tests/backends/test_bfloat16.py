"""bfloat16 by DLPack: what is lent is given back, and what is read is what was written."""

from __future__ import annotations

import ctypes

import numpy as np

from backends.engine import bfloat16


def test_what_is_read_is_what_was_lent_until_it_is_given_back() -> None:
    before = len(bfloat16._lent)
    # 1.0, -2.0 and the like lie every second place: a capsule holds numbers in a row
    wide = np.array([[0x3F80, 0, 0xC000, 0], [0x7F80, 0, 0x0001, 0]], "<u2")
    array = wide[:, ::2].copy().view(bfloat16.KIND)
    capsule = bfloat16.Exported(wide.view(bfloat16.KIND)[:, ::2]).__dlpack__()
    assert len(bfloat16._lent) == before + 1
    found = bfloat16.read(capsule)
    assert found.dtype == bfloat16.KIND and found.shape == (2, 2)
    assert found.tobytes() == array.tobytes()
    managed = bfloat16._Managed.from_address(bfloat16._pointer(capsule, b"dltensor"))
    assert (managed.tensor.type.code, managed.tensor.type.bits, managed.tensor.device.kind) == (4, 16, 1)
    managed.deleter(ctypes.pointer(managed))
    assert len(bfloat16._lent) == before
