"""How a measurement can end badly."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from builder.errors import BuilderError

LONGEST_QUOTE = 200

# words of the first error -> what mends it
_REMEDIES = {
    "chat template": 'ask plain texts: --prompts FILE.jsonl with lines {"prompt": "..."}',
    " endpoint (HTTP": "--openai takes the address of an OpenAI endpoint; a Triton is measured with --url",
    "does not speak HTTP": "--openai takes the HTTP address of an OpenAI endpoint",
    "no response": "look at the server's log; --patience SECONDS waits longer",
}


class MeasureError(BuilderError):
    """Nothing could be measured: no server, no answer, or a file that is no measurement."""


class Refused(Exception):
    """One request was not answered to its end; the text is what its error is counted under."""


def unanswered(run: Mapping[str, Any], what: str) -> MeasureError:
    """Return the error of a run, or its warm-up, that too few requests survived; `what` names them."""
    answered = run["requests"] - run["errors"]
    said = next(iter(run["error_messages"]), "nothing")
    return MeasureError(
        f"of {what}, {answered or 'none'} {'was' if answered <= 1 else 'were'} answered: {said}",
        expected="a server that answers",
        remedy=next(
            (mends for words, mends in _REMEDIES.items() if words in said), "look at the server's log"
        ),
    )


def quoted(failure: object) -> str:
    """Return what a server said as one short printable line: another protocol's bytes are no words."""
    text = "".join(one if one in string.printable or one.isalpha() else " " for one in str(failure))
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_QUOTE else f"{line[:LONGEST_QUOTE]}..."
