"""TRN105: the comments of a config.pbtxt that leave rules out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder import check
from builder.layout import Model
from builder.rule import Fault, closest, rule
from builder.textproto import Place

_COMMENT = re.compile(r"#\s*check:\s*ignore\b(?P<said>[^\n]*)", re.IGNORECASE)
_CODES = re.compile(r"[\s,]*(?P<code>TRN\w*)", re.IGNORECASE)


@rule("TRN105", "warning")
def ignore_unknown(model: Model) -> Iterator[Fault]:
    """A comment that leaves rules out names them by their codes, or by how these begin.

    Bad:
        # check: ignore TRN999
    Good:
        # check: ignore TRN729, TRN72: clients that cancel ask the front
    """
    known = [one.code for one in check.rules()]
    for number, line in enumerate(model.text.split("\n"), 1):
        comment = _COMMENT.search(line)
        if comment is None:
            continue
        for code in _named(comment["said"]) or [""]:
            # `TRN` alone would be every rule
            if not (code[3:] and any(one.startswith(code.upper()) for one in known)):
                told = f"{code} is the beginning of no rule's code" if code[3:] else "it names none"
                near = closest(code.upper(), known) or "TRN729"
                yield Fault(
                    (),
                    f"the comment leaves no rule out: {told}",
                    f"write a code such as {near}, or remove the comment",
                    place=Place(number, comment.start() + 1),
                )


def _named(said: str) -> list[str]:
    """Return the codes that a comment begins with; what follows them is its reason."""
    found = []
    place = 0
    while match := _CODES.match(said, place):
        found.append(match["code"])
        place = match.end()
    return found
