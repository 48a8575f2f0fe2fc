"""Files of routes: what they may say, and what is said of their mistakes."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from builder.cli import main
from builder.errors import UsageError
from builder.gateway.routing import reading
from builder.gateway.routing.route import Canary, Route

PATH = Path("routes.toml")
TO = '[routes.a]\nto = "x"\n'


def parsed(text: str) -> reading.Routes:
    return reading.parse(text, PATH)


def test_all_that_a_file_may_say() -> None:
    routes = parsed(
        """
        [routes.small]
        to = "smollm2"

        [routes.code]
        split = { "coder-a" = 90, "coder-b" = 10.5, "coder-c" = 0 }
        fallback = ["coder-a", "smollm2"]

        [routes.chat]
        to = "llama"
        [routes.chat.canary]
        model = "llama-fp8"
        share = 5
        max_error_rate = 0.02
        max_latency_ratio = 1.5
        window = 60
        min_answers = 20

        [routes.latest]
        to = "chat"
        """
    )
    canary = Canary("llama-fp8", 5.0, 0.02, 1.5, 60, 20)
    assert routes == {
        "small": Route("small", {"smollm2": 1.0}),
        "code": Route(
            "code", {"coder-a": 90.0, "coder-b": 10.5, "coder-c": 0.0}, None, ("coder-a", "smollm2")
        ),
        "chat": Route("chat", {"llama": 1.0}, canary),
        # another name of a route is that route: its users are divided alike
        "latest": Route("chat", {"llama": 1.0}, canary),
    }
    assert routes["code"].models == ("coder-a", "coder-b", "smollm2")
    assert routes["chat"].models == ("llama", "llama-fp8")


def test_a_route_may_have_the_name_of_a_model_that_it_leads_to() -> None:
    text = '[routes.llama]\nto = "llama"\ncanary = { model = "llama-fp8", share = 5 }\n'
    assert parsed(f'{text}[routes.c]\nto = "llama"\n')["c"].canary == Canary("llama-fp8", 5.0)
    assert parsed("[routes.x]\nsplit = { x = 1, y = 1 }\n")["x"].models == ("x", "y")
    assert parsed('[routes.x]\nto = "y"\nfallback = ["x"]\n')["x"].models == ("y", "x")


def test_nothing_is_no_route() -> None:
    assert parsed("") == parsed("[routes]\n") == {}


MISTAKES = (
    ("[routes\n", "is not valid TOML", ""),
    ("route = 1\n", "routes.toml: route is unknown", "did you mean 'routes'?"),
    ("routes = 3\n", "routes is 3", "a table [routes]"),
    ('[routes]\na = "x"\n', "routes.a is 'x'", "a table [routes.a]"),
    ("[routes.a]\n", "routes.a has neither of 'to' and 'split'", "one of them"),
    (f"{TO}split = {{ y = 1 }}\n", "routes.a has both", "one of them"),
    ('[routes.a]\ntoo = "x"\n', "routes.a.too is unknown", "did you mean 'to'?"),
    ('[routes.a]\nto = ["x"]\n', "routes.a.to is ['x']", "the name of a model"),
    ('[routes.a]\nto = ""\n', "routes.a.to is ''", "the name of a model"),
    ('[routes.a]\nto = "x\\u0000"\n', "routes.a.to is 'x\\x00'", "printable"),
    ('[routes."a\\n"]\nto = "x"\n', "routes.'a\\n' names", "printable"),
    ("[routes.a]\nsplit = { x = 0, y = 0 }\n", "routes.a.split has the weights [0.0, 0.0]", "above 0"),
    ("[routes.a]\nsplit = {}\n", "routes.a.split has the weights []", "above 0"),
    ("[routes.a]\nsplit = { x = -1, y = 2 }\n", "routes.a.split.x is -1", "a number of 0 to"),
    ("[routes.a]\nsplit = { x = true }\n", "routes.a.split.x is True", "a number of 0 to"),
    ('[routes.a]\nsplit = { x = "1" }\n', "routes.a.split.x is '1'", "a number of 0 to"),
    ("[routes.a]\nsplit = { x = inf }\n", "routes.a.split.x is inf", "a number of 0 to"),
    ("[routes.a]\nsplit = { x = nan }\n", "routes.a.split.x is nan", "a number of 0 to"),
    ("[routes.a]\nsplit = 1\n", "routes.a.split is 1", "a table [routes.a.split]"),
    (f'{TO}fallback = "y"\n', "routes.a.fallback is 'y'", 'a list of models, ["a", "b"]'),
    (f'{TO}fallback = ["y", "y"]\n', "routes.a.fallback is ['y', 'y']", "each model once"),
    (f'{TO}fallback = ["x"]\n', "routes.a.fallback names 'x'", "'to' is asked before them"),
    (f"{TO}fallback = [1]\n", "routes.a.fallback is 1", "the name of a model"),
    (f"{TO}canary = {{ share = 5 }}\n", "routes.a.canary.model is missing", "the name of a model"),
    (f'{TO}canary = {{ model = "y" }}\n', "routes.a.canary.share is missing", "a number of 0 to 100"),
    (f'{TO}canary = {{ model = "y", share = 101 }}\n', "routes.a.canary.share is 101", "0 to 100"),
    (f'{TO}canary = {{ model = "x", share = 5 }}\n', "routes.a.canary.model is 'x'", "another model"),
    (
        f'{TO}fallback = ["y"]\ncanary = {{ model = "y", share = 5 }}\n',
        "routes.a.fallback names 'y'",
        "a canary that was taken back stays away",
    ),
    (
        '[routes.a]\nsplit = { x = 1 }\ncanary = { model = "y", share = 5 }\n',
        "routes.a.canary stands beside a split",
        "a canary beside one model",
    ),
    (
        f'{TO}canary = {{ model = "y", share = 5, max_errors = 1 }}\n',
        "routes.a.canary.max_errors is unknown",
        "did you mean 'max_error_rate'?",
    ),
    (
        f'{TO}canary = {{ model = "y", share = 5, window = 0.5 }}\n',
        "routes.a.canary.window is 0.5",
        "a whole number of 1 to 86,400",
    ),
    (
        f'{TO}canary = {{ model = "y", share = 5, max_latency_ratio = 0.5 }}\n',
        "routes.a.canary.max_latency_ratio is 0.5",
        "a number of 1 to",
    ),
    (TO.replace("x", "a"), "routes lead in a circle: a -> a", "name the model itself"),
    (
        '[routes.a]\nto = "b"\n[routes.b]\nto = "c"\n[routes.c]\nto = "a"\n',
        "routes lead in a circle: a -> b -> c -> a",
        "name the model itself",
    ),
    (
        f'[routes.b]\nto = "y"\nfallback = ["a"]\n{TO}',
        "routes.b leads to 'a', which is a route itself",
        "name the models that 'a' leads to",
    ),
    (f"[routes.b]\nsplit = {{ a = 1, y = 1 }}\n{TO}", "routes.b leads to 'a'", "name the models"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "found", "expected"), MISTAKES, ids=[found for _, found, _ in MISTAKES])
def test_mistakes_are_told(text: str, found: str, expected: str) -> None:
    with pytest.raises(UsageError) as told:
        parsed(text)
    assert told.value.found.startswith("routes.toml")
    assert found in told.value.found
    assert expected in f"{told.value.expected}\n{told.value.remedy}"


@given(st.text(max_size=300))
def test_no_text_breaks_it(text: str) -> None:
    try:
        parsed(text)
    except UsageError as error:
        assert error.found.startswith("routes.toml")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(["to", "split", "canary", "fallback", "model", "share", "window", "x"])


@given(st.dictionaries(_KEYS, _VALUES | st.dictionaries(_KEYS, _VALUES, max_size=4), max_size=4))
def test_no_table_breaks_it(table: dict[str, object]) -> None:
    try:
        routes = reading.of_tables({"routes": {"a": table}}, PATH)
    except UsageError as error:
        assert error.found.startswith("routes.toml")
    else:
        assert routes["a"].models


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "routes.toml"
    with pytest.raises(UsageError, match="cannot be read"):
        reading.read(path)
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="cannot be read"):
        reading.read(path)
    path.write_bytes(b"#" * (reading.LARGEST + 1))
    with pytest.raises(UsageError, match="is larger than"):
        reading.read(path)


def test_the_command_refuses_a_file_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "routes.toml"
    path.write_text("[routes.a]\nsplit = { x = -1 }\n")
    done = CliRunner().invoke(main, ["gateway", "--routes", str(path)])
    assert done.exit_code == 2
    assert f"{path}: routes.a.split.x is -1" in done.stderr and "a number of 0 to" in done.stderr
    done = CliRunner().invoke(main, ["gateway", "--routes", str(tmp_path / "none.toml")])
    assert done.exit_code == 2 and "none.toml" in done.stderr


def test_routing_knows_nothing_beyond_its_wall() -> None:
    for file in Path(reading.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                module = str(node.module)
                own = module.startswith(("builder.gateway.routing", "builder.errors", "prometheus_client"))
                assert own or module.partition(".")[0] in sys.stdlib_module_names, (file, module)
            if isinstance(node, ast.Import):
                assert {one.name.partition(".")[0] for one in node.names} <= sys.stdlib_module_names, file
