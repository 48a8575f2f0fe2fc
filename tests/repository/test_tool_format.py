"""Which format of tool calls a chat template is of: known by what it makes of a call, or not at all."""

from __future__ import annotations

import pytest
import real_templates

from builder import tool_format
from builder.gateway import tools

OFFERS = "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
TURNS = "{% for m in messages %}[{{ m.role }}]{{ m.content }}CALLS{% endfor %}"
CALLS = "{% for c in m.tool_calls or [] %}CALL{% endfor %}"
HERMES = (
    '<tool_call>\n{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "\n</tool_call>"
)
LLAMA = (
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
    '{"name": "{{ c.function.name }}", "parameters": {{ c.function.arguments | tojson }}}<|eot_id|>'
)
MISTRAL = "[TOOL_CALLS] [{{ c.function | tojson }}]"
WITH_ID = '[TOOL_CALLS] [{{ (c.function | tojson)[:-1] }}, "id": "{{ c.id }}"}]'
LATER = "[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}"
TAGGED = "<tool_call>\n<function={{ c.function.name }}>\n</function>\n</tool_call>"


def template(call: str) -> str:
    return OFFERS + TURNS.replace("CALLS", CALLS.replace("CALL", call))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (template(HERMES), "hermes"),
        (template(LLAMA), "llama3"),
        (template(MISTRAL), "mistral"),
        (template(WITH_ID), "mistral"),
        # forms that no parser here reads
        (template(LATER), ""),
        (template(TAGGED), ""),
        (template("{{ c | tojson }}"), ""),
        (template(HERMES.replace('"arguments"', '"args"')), ""),
        # a template that takes calls, and never tells the model of its tools
        (template(HERMES).removeprefix(OFFERS), ""),
        # one that tells of tools, and takes no calls
        (OFFERS + TURNS.replace("CALLS", ""), ""),
        # one in which two forms fit is of neither
        (template(HERMES + MISTRAL), ""),
        ("{{ messages[0].content }}", ""),
        ("", ""),
        # broken ones, which nothing is known of
        ("{% for %}", ""),
        (OFFERS + "{{ raise_exception('no tools') if tools else '' }}", ""),
        (OFFERS + "{{ messages[9].content.x }}", ""),
        (OFFERS + "{{ 1 / 0 }}", ""),
        (OFFERS + "{{ ''.__class__.__mro__ }}", ""),
    ],
)
def test_forms(text, form):
    assert tool_format.of(text) == form


def test_every_known_form_has_a_parser_of_its_name():
    assert sorted(tool_format.forms()) == tools.names()


@pytest.mark.slow
def test_templates_of_published_models():
    texts = {path.stem: path.read_text(encoding="utf-8") for path in real_templates.folder().glob("*.jinja")}
    assert len(texts) > 20
    found = {name: tool_format.of(text) for name, text in texts.items()}
    assert {name: form for name, form in found.items() if form} == real_templates.FORMS
