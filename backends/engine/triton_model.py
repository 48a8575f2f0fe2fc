"""Another model of the same server, asked from Python: Triton's BLS, one thread for each stream.

An iterator of responses blocks whoever reads it, and so does the call that makes it until the first response
has come (python_backend, README: "Business Logic Scripting"). Nobody asks `is_model_ready`: where that meets
a first request, Triton 2.51 now and then ends by a boost::interprocess::lock_exception.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from backends.engine import bfloat16
from backends.engine.protocol import EngineError, InvalidRequest, Overloaded

Arrays = Mapping[str, npt.NDArray[Any]]

_BUSY = ("is not ready", "Maximum queue size", "unavailable", "exceeds maximum queue size")
"""What Triton and the executor say of a model that may answer later."""


class Stream(Protocol):
    """The answers of one request; iterating it blocks."""

    def __iter__(self) -> Iterator[Arrays]: ...

    def cancel(self) -> bool:
        """Tell Triton that nobody waits any more; False where it must be told otherwise."""
        ...


class Model(Protocol):
    """A decoupled model; every method may be called from any thread."""

    name: str

    def ask(self, request: str, inputs: Arrays, outputs: Sequence[str]) -> Stream:
        """Send a request; raises, as iterating does, what its error means."""
        ...


class TritonModel:
    """The Model that Triton calls `name`."""

    def __init__(self, name: str) -> None:
        import triton_python_backend_utils as pb_utils

        self.name = name
        self._utilities: Any = pb_utils

    def ask(self, request: str, inputs: Arrays, outputs: Sequence[str]) -> Stream:
        """Send a request and wait for its first answer."""
        made = self._utilities.InferenceRequest(
            model_name=self.name,
            request_id=request,
            requested_output_names=list(outputs),
            inputs=[_tensor(self._utilities, name, array) for name, array in inputs.items()],
        )
        try:
            return _Responses(made.exec(decoupled=True), self._utilities)
        except self._utilities.TritonModelException as error:
            raise meaning(str(error)) from error


class _Responses:
    def __init__(self, responses: Any, utilities: Any) -> None:
        self._responses = responses
        self._utilities = utilities

    def __iter__(self) -> Iterator[Arrays]:
        for response in self._responses:
            if response.has_error():
                error = response.error()
                invalid = error.code() == self._utilities.TritonError.INVALID_ARG
                raise InvalidRequest(error.message()) if invalid else meaning(error.message())
            arrays = {one.name(): one.as_numpy() for one in response.output_tensors()}
            if arrays:
                yield arrays

    def cancel(self) -> bool:
        # Triton 2.57 (25.04) is the first whose iterators can
        cancel = getattr(self._responses, "cancel", None)
        if cancel is not None:
            cancel()
        return cancel is not None


def _tensor(utilities: Any, name: str, array: npt.NDArray[Any]) -> Any:
    if array.dtype == bfloat16.KIND:
        return utilities.Tensor.from_dlpack(name, bfloat16.Exported(array))
    return utilities.Tensor(name, array)


def read(tensor: Any) -> npt.NDArray[Any]:
    """Return the numbers of a tensor of Triton's; of bfloat16 as an array of bfloat16.KIND."""
    try:
        found: npt.NDArray[Any] = tensor.as_numpy()
    except Exception as error:
        if "BF16" not in str(error):
            raise
        return bfloat16.read(tensor.to_dlpack())
    return found


def meaning(text: str) -> EngineError:
    """Return the error that a message of Triton's, or of the executor's, stands for."""
    return Overloaded(text) if any(words in text for words in _BUSY) else EngineError(text)


def texts(value: str) -> npt.NDArray[np.object_]:
    """Return a string as a tensor of one element in a batch of one."""
    return np.array([[value.encode()]], dtype=np.object_)
