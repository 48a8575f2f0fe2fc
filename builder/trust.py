"""Trust: reading some formats runs code that they hold, so nobody reads them unless the user said so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from builder.errors import SourceError

PICKLE = "is a pickle: reading it runs whatever code it holds"
INSTEAD = "a model that holds no code: .onnx, .skops, XGBoost's .ubj or .json, LightGBM's .txt"

_granted: ContextVar[bool] = ContextVar("trust", default=False)


@contextmanager
def granted(given: bool = True) -> Iterator[None]:
    """Let what runs in the block read files that run code; the command line's --trust-pickle is `given`."""
    token = _granted.set(given)
    try:
        yield
    finally:
        _granted.reset(token)


def is_granted() -> bool:
    """Say whether the user gave trust."""
    return _granted.get()


def require(path: Path, what: str = PICKLE, instead: str = INSTEAD) -> None:
    """Raise SourceError where the user gave no trust; `what` follows the path in the message."""
    if not _granted.get():
        raise SourceError(
            f"{path} {what}",
            expected=instead,
            remedy="pass --trust-pickle if you made this file or trust whoever did; "
            "else have it saved in a format that holds no code",
        )
