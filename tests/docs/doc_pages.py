"""The pages as data: fenced blocks, the files they hold, the commands they show with their output."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ELISION = "..."

# The order in which a newcomer reads, and in which the slow test runs what the pages show.
ORDER = (
    *(
        "README.md",
        "plan",
        "build",
        "quantize",
        "fit",
        "single-pass",
        "tensorrt",
        "vllm",
        "llamacpp",
        "llmapi",
        "tensorrtllm",
        "versions",
        "import",
        "contracts",
        "check",
        "serve",
        "call",
        "clients",
        "chat",
        "gateway",
        "keys",
        "routing",
        "chat-page",
        "verify",
        "measure",
        "compare",
        "deploy",
    ),
    *("prove", "errors", "extend", "house"),
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file it is to be saved as ("" for none), its text."""

    language: str
    file: str
    text: str


@dataclass(frozen=True)
class Command:
    """One `$ ` line of a console block, and what the page shows beneath it."""

    page: str
    line: str
    shown: tuple[str, ...]


def pages() -> list[Path]:
    """Return every page in reading order."""
    listed = [ROOT / name if name.endswith(".md") else ROOT / "docs" / f"{name}.md" for name in ORDER]
    found = {ROOT / "README.md", *(ROOT / "docs").glob("*.md")}
    assert found == set(listed), f"ORDER does not list {found ^ set(listed)}"
    return listed


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    return [
        Block(language, information.strip().removeprefix("file="), text)
        for language, information, text in FENCE.findall(page.read_text(encoding="utf-8"))
    ]


def commands(page: Path) -> Iterator[Command]:
    """Yield the commands of the page's console blocks; an open quote or a backslash continues a line."""
    for block in blocks(page):
        if block.language != "console":
            continue
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            lines = part.rstrip("\n").split("\n")
            line = lines.pop(0)
            while lines and (line.count("'") % 2 or line.endswith("\\")):
                line = f"{line.removesuffix(chr(92))}\n{lines.pop(0)}"
            yield Command(page.name, line, tuple(lines))


def missing(command: Command, output: str) -> list[str]:
    """Return the shown lines that no line of the real output matches; `...` stands for anything."""
    real = [_plain(line) for line in output.splitlines()]
    return [
        shown
        for shown in command.shown
        if _plain(shown) and not any(_matches(_plain(shown), line) for line in real)
    ]


def _plain(line: str) -> str:
    return re.sub(r"\s+", " ", re.sub("─+", "─", line)).strip()


def _matches(shown: str, real: str) -> bool:
    """Say whether the parts of `shown` between elisions occur in `real`, in their order, from end to end."""
    pattern = ".*".join(re.escape(part.strip()) for part in shown.split(ELISION))
    return re.fullmatch(pattern, real) is not None
