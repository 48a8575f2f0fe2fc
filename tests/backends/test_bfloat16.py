"""bfloat16 by DLPack: what is lent is given back, and what is read is what was written."""

from __future__ import annotations

import ctypes

import numpy as np

from backends.engine import bfloat16, triton_model


class Tensor:
    """A tensor of Triton's Python backend: of bfloat16 it gives no array, in these words of 24.10."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def as_numpy(self) -> np.ndarray:
        if self._array.dtype == bfloat16.KIND:
            raise RuntimeError("Tensor dtype is BF16 and cannot be converted to NumPy.")
        return self._array

    def to_dlpack(self) -> object:
        return bfloat16.Exported(self._array).__dlpack__()


def test_whatever_a_client_sent_is_read() -> None:
    sent = np.array([[0x3F80, 0xC000]], "<u2").view(bfloat16.KIND)
    found = triton_model.read(Tensor(sent))
    assert (found.dtype, found.shape, found.tobytes()) == (bfloat16.KIND, (1, 2), sent.tobytes())
    numbers = np.array([[1, 2]], np.int32)
    assert triton_model.read(Tensor(numbers)) is numbers


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
