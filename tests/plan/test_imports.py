"""The line of stages: whoever stands further right may know those to the left, never the other way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LINE = ("source", "plan", "convert", "prove", "repository", "check", "serve", "verify", "measure")
# Each plug-in folder belongs to the stage that loads it by name.
PLUGINS = {
    "source": "sources",
    "prove": "proving",
    "check": "rules",
    "serve": "servers",
    "verify": "verifications",
    "measure": "measuring",
}


def modules():
    """Return module name -> names of the builder modules that it imports anywhere, functions included."""
    found = {}
    for file in sorted((ROOT / "builder").rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = imports(file)
    return {name: {one for one in names if one in found} for name, names in found.items()}


def with_plugins(found):
    """Return the same with the plug-ins that a stage loads by name as its imports."""
    return {
        name: names | {other for other in found if other.startswith(f"builder.{PLUGINS.get(name[8:], '-')}.")}
        for name, names in found.items()
    }


def imports(file):
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative imports are not followed when code is copied"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


WRITTEN = modules()
MODULES = with_plugins(WRITTEN)


def reachable(start, graph=MODULES):
    waiting, seen = [start], set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen - {start}


def test_the_line_is_there():
    assert [stage for stage in LINE if f"builder.{stage}" in MODULES][:8] == list(LINE[:8])


@pytest.mark.parametrize("stage", [stage for stage in LINE if f"builder.{stage}" in MODULES])
def test_a_stage_knows_only_those_to_its_left(stage):
    right = {f"builder.{other}" for other in LINE[LINE.index(stage) + 1 :]}
    assert not reachable(f"builder.{stage}") & right


@pytest.mark.parametrize("stage", [stage for stage in LINE if f"builder.{stage}" in MODULES])
def test_no_stage_knows_the_story_or_the_command_line(stage):
    assert not reachable(f"builder.{stage}") & {"builder.pipeline", "builder.cli"}
    assert not [name for name in reachable(f"builder.{stage}") if name.startswith("builder.printing")]


@pytest.mark.parametrize("name", [name for name in WRITTEN if WRITTEN[name]])
def test_imports_have_no_circle(name):
    assert not [other for other in WRITTEN[name] if name in reachable(other, WRITTEN) and other != name]


def files(folder):
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("file", files("backends"), ids=lambda file: str(file.relative_to(ROOT)))
def test_what_runs_inside_triton_knows_nothing_of_the_build(file):
    roots = {name.split(".")[0] for name in imports(file)}
    assert not roots & {"builder", "ensembles", "torch", "transformers", "click", "rich", "tritonclient"}


@pytest.mark.parametrize("file", files("builder"), ids=lambda file: str(file.relative_to(ROOT)))
def test_the_build_never_imports_what_runs_inside_triton(file):
    """Above all the proof and the verification: a witness must not share the code it speaks about."""
    assert not [name for name in imports(file) if name.split(".")[0] == "backends"]
