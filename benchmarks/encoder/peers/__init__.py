"""The libraries and servers that we are measured against, one file each, each in an environment of its own.

    library(settings) -> Embed        what embeds texts in this process
    serve(settings, port) -> None     serve on that loopback port until the process ends

`settings` are those that lineup.py tries, with `source` (the folder of the checkpoint), `packed` (the graph
that we serve), `padded` (an ordinary export) and `tokenizer` (tokenizer.json). A peer runs in a process of
its own: see __main__.py. These files carry their package's name, so they are imported from benchmarks/,
never from here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Settings = dict[str, Any]
Embed = Callable[[Sequence[str]], Any]
"""Texts to their vectors, float32 [texts, width]."""
