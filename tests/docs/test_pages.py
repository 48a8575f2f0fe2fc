"""The pages say what the program is: tables, options, plug-ins, ranges and links."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import click
import doc_pages
import numpy as np
import pytest
from doc_pages import ROOT

from backends.engine.protocol import InvalidRequest
from backends.front.limits import Limits
from backends.front.request import parse
from builder import client_facts, house, verify
from builder.cli import main
from builder.gateway import tools
from ensembles.text_generation import FRONT

PAGES = doc_pages.pages()
EVERYTHING = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def table(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the table whose first column is called `heading`."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([_bare(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def _bare(cell: str) -> str:
    return re.sub(r"^`([^`]*)`$", r"\1", cell.strip())


def test_every_fact_for_clients_is_explained() -> None:
    assert tuple(name for name, _ in table("call.md", "Parameter")) == client_facts.NAMES
    formats = next(text for name, text in table("call.md", "Parameter") if name == "tool_format")
    assert all(f"`{name}`" in formats for name in tools.names())


def test_generated_tables_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "docs"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"run `python scripts/docs`\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("heading", ["Input", "Output"])
def test_contract_is_the_pipelines(heading: str) -> None:
    tensors = {"Input": FRONT.inputs, "Output": FRONT.outputs}[heading]
    written = [(name, kind, shape) for name, kind, shape, *_ in table("call.md", heading)]
    assert written == [(one.name, one.data_type, str(list(one.dims))) for one in tensors]


def test_every_tensor_has_a_meaning() -> None:
    empty = [row[0] for heading in ("Input", "Output") for row in table("call.md", heading) if not row[-1]]
    assert empty == []


def test_ranges_are_those_the_front_enforces() -> None:
    limits = Limits(100, 100, frozenset(), 600.0, "engine")
    ranges = {row[0]: row[4] for row in table("call.md", "Input")}
    seen = 0
    for tensor in FRONT.inputs:
        if tensor.data_type not in ("INT32", "FP32") or not re.match(
            r"-?[\d.]+ (to|and)", ranges[tensor.name]
        ):
            continue
        lowest = np.array([[-(2**31)]], np.int32) if tensor.data_type == "INT32" else np.array([[-np.inf]])
        tensors = {"input_ids": np.array([[1]], np.int32), tensor.name: lowest}
        with pytest.raises(InvalidRequest) as refused:
            parse(tensors, {}, limits, None, None)  # type: ignore[arg-type]
        said = str(refused.value).partition("it must be ")[2]
        written = f"{said.removeprefix('at least ')} and up" if said.startswith("at least") else said
        assert ranges[tensor.name] == written, tensor.name
        seen += 1
    assert seen >= 8


def test_checks_are_the_programs() -> None:
    written = [tuple(row) for row in table("verify.md", "group")]
    assert written == [(check.group, check.name, check.description) for check in verify.checks()]


# What Triton itself says, seen on 2.51.
TRITONS = (
    "generate expects model to produce exactly 1 response",
    "doesn't support models with decoupled transaction policy",
    "batch-size must be <= 1",
    "Unable to parse 'data'",
)


def own_texts() -> str:
    """Return every string of the program, formatted values left out."""
    texts = []
    for folder in ("builder", "backends"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                    texts.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return "\n".join(texts)


def test_errors_in_the_tables_are_those_of_the_program() -> None:
    texts = own_texts()
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    absent = []
    for line in page.splitlines():
        seen = re.match(r"\| `([^`]+)`", line)
        if seen is None or seen[1] in TRITONS:
            continue
        # capitals, numbers and dots stand for what differs
        for part in re.split(r"\.\.\.|\b[A-Z]\b|\d+", seen[1]):
            if len(part.strip()) > 3 and part.strip() not in texts:
                absent.append(part)
    assert absent == []


def plugin_files() -> list[Path]:
    found = sorted((ROOT / "builder" / "recipes").glob("*.toml"))
    for folder in ("targets", "quantizations", "architectures", "servers", "sources", "weight_formats"):
        found += [ROOT / "builder" / folder / f"{name}.py" for name in house.plugin_names(folder)]
    engines = sorted((ROOT / "backends" / "engine").glob("[!_]*.py"))
    found += [path for path in engines if re.search(r"^def create\(", path.read_text(), re.MULTILINE)]
    return [*found, *sorted((ROOT / "ensembles").glob("[!_]*.py"))]


@pytest.mark.parametrize("path", plugin_files(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_plugin_is_named(path: Path) -> None:
    assert f"`{path.stem}`" in EVERYTHING
    assert str(path.relative_to(ROOT)) in EVERYTHING


def every_option() -> list[tuple[str, str]]:
    commands = {"": main, **{name: main.get_command(None, name) for name in main.list_commands(None)}}
    return [
        (name, text)
        for name, command in commands.items()
        for option in command.params
        if isinstance(option, click.Option)
        for text in (*option.opts, *option.secondary_opts)
    ]


@pytest.mark.parametrize(("command", "option"), every_option())
def test_option_is_mentioned(command: str, option: str) -> None:
    assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", EVERYTHING), f"builder {command} {option}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_relative_links_resolve(page: Path) -> None:
    prose = doc_pages.FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_files_named_in_the_pages_exist() -> None:
    named = set(re.findall(r"`((?:builder|backends|ensembles|docker|scripts|tests)/[\w./-]*)`", EVERYTHING))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_pages_are_about_no_machine() -> None:
    assert re.findall(r"/(?:work|root|home|tmp)/[^\s`]*", EVERYTHING) == []
