"""The fields of one Triton request: what every request carries, and its prompt as the model takes it."""

from __future__ import annotations

import json
from typing import Any

from builder.measuring import prompts
from builder.measuring.prompts import Prompt
from builder.measuring.task import Asking


def filled(asking: Asking, prompt: Prompt) -> dict[str, Any]:
    """Return input name -> value; messages become text where the model takes no messages."""
    if isinstance(prompt, list) and "messages" in asking.inputs:
        return {"messages": json.dumps(prompt, ensure_ascii=False), **asking.fields}
    return {"text_input": prompts.as_text(prompt), **asking.fields}
