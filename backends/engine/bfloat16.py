"""bfloat16 in and out of Triton's Python backend: numpy has no such type, two bytes of no kind stand for it.

What passes is DLPack's (https://dmlc.github.io/dlpack/latest/c_api.html), written by hand: a stock container
may hold no library that knows the type.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

KIND = np.dtype("V2")
"""What an array of bfloat16 is of, and a file of numpy's that holds some."""

_CPU, _BFLOAT, _BITS = 1, 4, 16


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("number", ctypes.c_int32))


class _Type(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("dimensions", ctypes.c_int32),
        ("type", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))

_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_NAME = b"dltensor"
_lent: dict[int, tuple[Any, ...]] = {}
"""Address of what was handed out -> what must live as long."""


def _forget(managed: Any) -> None:
    _lent.pop(ctypes.addressof(managed.contents), None)


_give_back = _Deleter(_forget)


class Exported:
    """An array of KIND as DLPack's users take one: nothing is copied."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = np.ascontiguousarray(array)

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CPU, 0

    def __dlpack__(self, stream: Any = None) -> Any:
        """Return a capsule; whoever takes it calls its deleter."""
        shape = (ctypes.c_int64 * self._array.ndim)(*self._array.shape)
        managed = _Managed()
        managed.tensor.data = self._array.ctypes.data
        managed.tensor.device = _Device(_CPU, 0)
        managed.tensor.dimensions = self._array.ndim
        managed.tensor.type = _Type(_BFLOAT, _BITS, 1)
        managed.tensor.shape = ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64))
        managed.deleter = _give_back
        _lent[ctypes.addressof(managed)] = (managed, shape, self._array)
        return _new(ctypes.addressof(managed), _NAME, None)


def read(capsule: Any) -> npt.NDArray[Any]:
    """Return a copy of a capsule's bfloat16 as an array of KIND; what it holds lies in a row on the CPU."""
    managed = _Managed.from_address(_pointer(capsule, _NAME))
    tensor = managed.tensor
    shape = tuple(tensor.shape[place] for place in range(tensor.dimensions))
    size = int(np.prod(shape, dtype=np.int64)) * KIND.itemsize
    held = ctypes.string_at(tensor.data + tensor.offset, size)
    return np.frombuffer(held, dtype=KIND).reshape(shape)
