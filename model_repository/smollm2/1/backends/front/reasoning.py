"""Split a model's thinking from its answer where the deployment names the marks around it."""

from __future__ import annotations

from collections.abc import Mapping


class Splitter:
    """Routes streamed text: what stands between `start` and `end` is reasoning, all else is answer."""

    def __init__(self, marks: Mapping[str, str] | None) -> None:
        self._marks = (marks["start"], marks["end"]) if marks else None
        self._inside = False
        self._held = ""

    def push(self, text: str) -> tuple[str, str]:
        """Return (answer, reasoning) of this piece; a mark may be spread over several."""
        if self._marks is None:
            return text, ""
        parts = ["", ""]
        rest = self._held + text
        while True:
            mark = self._marks[self._inside]
            before, found, after = rest.partition(mark)
            if not found:
                break
            parts[self._inside] += before
            self._inside = not self._inside
            rest = after
        keep = next((size for size in range(len(mark) - 1, 0, -1) if rest.endswith(mark[:size])), 0)
        self._held = rest[len(rest) - keep :]
        parts[self._inside] += rest[: len(rest) - keep]
        return parts[0], parts[1]

    def flush(self) -> tuple[str, str]:
        """Return what was held back as (answer, reasoning)."""
        held, self._held = self._held, ""
        return ("", held) if self._inside else (held, "")
