"""The fields of one Triton request: what every request carries, and its prompt as the model takes it."""

from __future__ import annotations

import json
from typing import Any

from builder.errors import UsageError
from builder.measuring import prompts, tensors
from builder.measuring.task import Asking
from builder.prompt_lines import Prompt


def filled(asking: Asking, prompt: Prompt) -> dict[str, Any]:
    """Return input name -> value; messages become text where the model takes no messages."""
    if isinstance(prompt, list) and "messages" in asking.inputs:
        return {"messages": json.dumps(prompt, ensure_ascii=False), **asking.fields}
    return {"text_input": prompts.as_text(prompt), **asking.fields}


def require_fits(name: str, datatype: str, value: Any) -> None:
    """Raise UsageError for an extra input that the model's dtype cannot hold; None leaves an input out."""
    values = value if isinstance(value, list) else [value]
    if value is not None and not all(tensors.fits(datatype, one) for one in values):
        raise UsageError(
            f"--extra: {name} cannot be {json.dumps(value)}", expected=f"a value that fits {datatype}"
        )
