"""The tensors of one request, each read with its type and within its range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from backends.engine.protocol import MOST_PRIORITY, InvalidRequest

Tensors = Mapping[str, npt.NDArray[Any]]

LARGEST_INTEGER = 2**31 - 1
MOST_TOP_LOG_PROBS = 20
"""OpenAI's limit, and vLLM's own (max_logprobs)."""
MOST_WORDS = 64

# name -> (lowest, highest), both allowed
_RANGES: dict[str, tuple[float, float]] = {
    "max_tokens": (1, LARGEST_INTEGER),
    "min_tokens": (0, LARGEST_INTEGER),
    "temperature": (0.0, 100.0),
    "top_k": (0, LARGEST_INTEGER),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 100.0),
    "presence_penalty": (-100.0, 100.0),
    "frequency_penalty": (-100.0, 100.0),
    "num_return_sequences": (1, 64),
    "top_logprobs": (0, MOST_TOP_LOG_PROBS),
    "priority": (0, MOST_PRIORITY),
}


class Values:
    """Typed reading of the tensors of one request."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def one(self, name: str) -> Any:
        """Return the only element, None when the tensor was not sent."""
        if name not in self._tensors:
            return None
        elements = self._tensors[name].reshape(-1)
        if elements.size != 1:
            raise InvalidRequest(f"{name} has {elements.size} elements, 1 is expected")
        return elements[0]

    def number(self, name: str) -> float | None:
        """Return a number within its range, None when it was not sent."""
        value = self.one(name)
        if value is None:
            return None
        number = float(value)
        lowest, highest = _RANGES[name]
        if not lowest <= number <= highest:
            allowed = f"at least {lowest:g}" if highest == LARGEST_INTEGER else f"{lowest:g} to {highest:g}"
            raise InvalidRequest(f"{name} is {number:.10g}, it must be {allowed}")
        return number

    def flag(self, name: str, default: bool) -> bool:
        """Return a truth value."""
        value = self.one(name)
        return default if value is None else bool(value)

    def text(self, name: str) -> str | None:
        """Return a string, None when it was not sent."""
        value = self.one(name)
        return None if value is None else _utf8(name, value)

    def texts(self, name: str) -> list[str]:
        """Return strings, none when they were not sent."""
        if name not in self._tensors:
            return []
        return [_utf8(name, value) for value in self._tensors[name].reshape(-1)]

    def words(self, name: str) -> tuple[str, ...]:
        """Return strings without empty ones."""
        words = self.texts(name)
        if len(words) > MOST_WORDS:
            raise InvalidRequest(f"{name} has {len(words)} entries, at most {MOST_WORDS} are allowed")
        return tuple(word for word in words if word)

    def ids(self, name: str) -> list[int]:
        """Return token ids."""
        return [int(value) for value in self._tensors[name].reshape(-1)]


def _utf8(name: str, value: Any) -> str:
    data = value if isinstance(value, bytes) else str(value).encode()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name} is not valid UTF-8: {error}") from error
