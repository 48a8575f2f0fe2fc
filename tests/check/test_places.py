"""A finding points at the line of its field: `places/` holds configs whose comments name the codes."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2
from workbench import examples, mutations

from builder import textproto
from builder.check import check
from builder.rule import Host
from builder.textproto import Key, Place

CASES = sorted((Path(__file__).parent / "places").glob("*.txt"))
HOST = Host("24.10", gpus=0)
CODE = re.compile(r"TRN\d{3}")


def expected(text: str) -> Counter[tuple[int, str]]:
    found: Counter[tuple[int, str]] = Counter()
    for number, line in enumerate(text.split("\n"), 1):
        found.update((number, code) for code in CODE.findall(line.partition("#")[2]))
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_findings_are_at_their_lines(case: Path, tmp_path: Path) -> None:
    text = case.read_text()
    examples.write(text, tmp_path / "repository")
    found = check(tmp_path / "repository", host=HOST)
    assert Counter((one.line, one.code) for one in found if one.line) == expected(text)


def test_there_are_at_least_thirty_places() -> None:
    assert sum(sum(expected(case.read_text()).values()) for case in CASES) >= 30


@given(st.integers(0, 10_000))
def test_every_field_that_protobuf_prints_is_found(number: int) -> None:
    config = model_config_pb2.ModelConfig()
    seed = mutations.SEEDS[number % len(mutations.SEEDS)].split("== ")[0]
    text_format.Parse(seed, config)
    text = text_format.MessageToString(config, as_one_line=number % 2 == 0)
    places = textproto.places(text)
    lines = text.split("\n")
    count = 0
    for path, place in places.names():
        name = str(path[-2])
        assert lines[place.line - 1][place.column - 1 :].startswith(name)
        count += 1
    assert count == len(re.findall(r"\w+(?=: | \{)", text))


@pytest.mark.parametrize(
    ("text", "path", "place"),
    [
        ("a: 1\nb { c: 2 }", ("b", "c"), (2, 5)),
        ("a: [ 1,\n 2 ]", ("a", 1), (2, 2)),
        ("a { b: 1 } a { b: 2 }", ("a", 1, "b"), (1, 16)),
        ("m { key: 'k'\n value { x: 1 } }", ("m", Key("k"), "value", "x"), (2, 10)),
        ("m { value { x: 1 } key: 'k' }", ("m", Key("k"), "value", "x"), (1, 13)),
        ("a: 'x # y' # b: 1\nb: 2", ("b",), (2, 1)),
        ("a: 'one'\n 'two' b: 2", ("b",), (2, 8)),
        ("a < b: 1 >", ("a", "b"), (1, 5)),
        ("a: { b: 1 }", ("a", "b"), (1, 6)),
        ("a: [ { b: 1 }, { b: 2 } ]", ("a", 1, "b"), (1, 18)),
        ("a { b: 1 }", ("a", "nothing"), (1, 1)),
        ("a { b: 1", ("a", "b"), (1, 5)),
        ("a: 1", ("z",), None),
        ("", ("a",), None),
    ],
)
def test_places_worked_by_hand(text: str, path: textproto.Path, place: tuple[int, int] | None) -> None:
    assert textproto.places(text).of(path) == (None if place is None else Place(*place))


@given(st.text(alphabet="ab:{}[]<>\"'#\\ \n1,;", max_size=60))
def test_no_text_stops_it(text: str) -> None:
    textproto.places(text)
