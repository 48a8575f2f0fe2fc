"""What forces a call: a schema that takes such calls and no others."""

from __future__ import annotations

import json

import jsonschema
import pytest
from tool_answers import FORMATS, KEYS, read

from builder.gateway import tools

pytestmark = pytest.mark.parametrize("form", FORMATS)

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
TREE = {
    "type": "object",
    "properties": {
        "root": {"$ref": "#/$defs/node"},
        "default": {"$ref": "#/properties/root"},
        "like": {"enum": [{"$ref": "#/$defs/node"}]},
    },
    "required": ["root"],
    "$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
}
OFFERED = [
    {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "get_time"}},
    {"type": "function", "function": {"name": "look-up", "parameters": TREE}},
]


def takes(guide, answer):
    schema = json.loads(guide.text)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).is_valid(answer)


def call(form, name, arguments):
    return {"name": name, KEYS[form]: arguments}


def test_any_function_several_times(form):
    guide = tools.load(form).guide(OFFERED)
    assert guide.kind == "json_schema"
    weather, clock = call(form, "get_weather", {"city": "Paris"}), call(form, "get_time", {})
    assert takes(guide, [weather])
    assert takes(guide, [weather, clock, weather])
    for other in (
        [],
        weather,
        [{"name": "get_time"}],
        [call(form, "unheard_of", {})],
        [call(form, "get_weather", {"city": 3})],
        [call(form, "get_time", {"city": "Paris"})],
        [weather | {"more": 1}],
    ):
        assert not takes(guide, other)


def test_one_call_of_one_function(form):
    guide = tools.load(form).guide(OFFERED, "get_weather", parallel=False)
    assert takes(guide, call(form, "get_weather", {"city": "Paris"}))
    assert not takes(guide, [call(form, "get_weather", {"city": "Paris"})])
    assert not takes(guide, call(form, "get_time", {}))


def test_the_name_comes_before_the_arguments(form):
    """Guided decoding writes properties in their order, and a call is known by its name."""
    schema = json.loads(tools.load(form).guide(OFFERED, "get_time", parallel=False).text)
    assert list(schema["properties"]) == ["name", KEYS[form]]


def test_references_of_a_schema_to_itself_still_lead_there(form):
    guide = tools.load(form).guide(OFFERED, parallel=False)
    assert takes(guide, call(form, "look-up", {"root": [[], [[]]], "default": [[]]}))
    assert not takes(guide, call(form, "look-up", {"root": [[], [3]]}))
    assert not takes(guide, call(form, "look-up", {"root": [], "default": 3}))
    assert takes(guide, call(form, "look-up", {"root": [], "like": {"$ref": "#/$defs/node"}}))


@pytest.mark.parametrize("parallel", [False, True])
def test_what_it_forces_is_read(form, parallel):
    """A forced answer has no marks; the parser knows that it is one."""
    one = call(form, "get_weather", {"city": "Paris"})
    guide = tools.load(form).guide(OFFERED, parallel=parallel)
    answer = [one, one] if parallel else one
    assert takes(guide, answer)
    told = [("get_weather", '{"city": "Paris"}')]
    assert read(form, json.dumps(answer), forced=True) == ("", told * (2 if parallel else 1))


def test_a_name_that_means_something_in_a_reference(form):
    odd = [{"type": "function", "function": {"name": "a/b~1 %#é", "parameters": TREE}}]
    guide = tools.load(form).guide(odd, parallel=False)
    assert takes(guide, call(form, "a/b~1 %#é", {"root": [[]]}))
    assert not takes(guide, call(form, "a/b~1 %#é", {"root": [3]}))


def test_a_function_that_is_not_offered(form):
    with pytest.raises(KeyError, match="unheard_of"):
        tools.load(form).guide(OFFERED, "unheard_of")


def test_a_schema_that_is_nested_too_deeply(form):
    deep: dict[str, object] = {}
    for _ in range(10_000):
        deep = {"not": deep}
    with pytest.raises(ValueError, match="nested too deeply"):
        tools.load(form).guide([{"type": "function", "function": {"name": "deep", "parameters": deep}}])
