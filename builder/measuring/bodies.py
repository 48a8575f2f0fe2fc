"""Bodies: requests to a model that answers once, made before the clock starts.

The bytes of a request stay the same but for its mark, and marks are all equally long: what precedes and
what follows one is made once per prompt, and a request is three pieces put together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from builder.measuring import tensors
from builder.measuring.asks import TEXT, Inputs
from builder.measuring.prompts import MARK
from builder.measuring.task import Asking
from builder.measuring.tensors import Tensor

HOLE = "<mark-here->"
assert len(HOLE) == MARK

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Body:
    """What is sent. Where `rest` is not None a mark belongs between the two."""

    sent: bytes
    rest: bytes | None = None


def make(asking: Asking, inputs: Inputs, encode: Callable[[Tensors], bytes], *, marks: bool) -> Body:
    """Return the body of a request as `encode` writes it, with room for a mark before its text.

    A model that takes no text_input gets no marks.
    """
    given = {**inputs, **asking.fields}
    tensors_ = {
        name: tensors.tensor(asking.inputs[name], asking.dims[name], value) for name, value in given.items()
    }
    if not marks or TEXT not in tensors_ or not tensors_[TEXT].values:
        return Body(encode(tensors_))
    text = tensors_[TEXT]
    tensors_[TEXT] = Tensor(text.shape, [_with_room(text.values[0]), *text.values[1:]])
    sent, _, rest = encode(tensors_).partition(HOLE.encode())
    return Body(sent, rest)


def _with_room(text: Any) -> Any:
    return b"[" + HOLE.encode() + b"] " + text if isinstance(text, bytes) else f"[{HOLE}] {text}"


def marked(body: Body, mark: str) -> Body:
    """Put a mark into the room that was left for it."""
    return body if body.rest is None else Body(body.sent + mark.encode() + body.rest)
