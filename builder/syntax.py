"""Python's own parser, one text at a time.

CPython 3.11 counts how deep it is for all threads together (python/cpython, issue 106905): where two parse at
once, one may end in "SystemError: AST constructor recursion depth mismatch".
"""

from __future__ import annotations

import ast
import threading

_PARSER = threading.Lock()


def parse(text: str | bytes, name: str) -> ast.Module:
    """Return the tree of a module's text; raise SyntaxError, which calls the text `name`."""
    with _PARSER:
        return ast.parse(text, name)
