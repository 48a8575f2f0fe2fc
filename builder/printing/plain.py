"""Text that others wrote, such as a folder's name, made harmless to print on one line."""

from __future__ import annotations

import re

# GitHub's runner obeys these in the output of every step: ActionCommand.cs in actions/runner
_COMMAND = re.compile(r"^(\s*):(?=:)|#(?=#\[)")
_SURROGATE = re.compile("[\ud800-\udfff]")


def line(text: str) -> str:
    r"""Return a text without what steers a terminal or breaks the line: spelled out, such as \x1b and \n."""
    shown = "".join(one if one.isprintable() else _spelled(one) for one in text)
    return _COMMAND.sub(lambda found: (found[1] or "") + _spelled(found[0][-1]), shown)


def encodable(text: str) -> str:
    """Return a text with U+FFFD for each byte of a file's name that is no UTF-8."""
    return _SURROGATE.sub("\ufffd", text)


def _spelled(character: str) -> str:
    usual = character.encode("unicode_escape").decode("ascii")
    return usual if usual != character else f"\\x{ord(character):02x}"
