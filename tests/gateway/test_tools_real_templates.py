"""Past calls through the templates of published models: what they write is what the parsers read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import real_templates
from tool_answers import read

from backends.text.chat import Chat
from builder.gateway import tools

pytestmark = pytest.mark.slow

CITY = {"type": "string", "description": "where"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Tells something.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "where"}},
            },
        },
    }
    for name in ("get_weather", "get_time")
]
ASKED = {"role": "user", "content": "Where is it warm?"}
ARGUMENTS = [{"city": 'Zürich "}]\\ 🙂'}, {"city": "Paris", "days": [1, {"x": None}]}]


class Told:
    """In the place of an encoder: keeps what the template wrote, and knows no tokens."""

    added: tuple[str, ...] = ()
    text = ""

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        self.text = text
        return []

    def normalized(self, text: str) -> str:
        return text


def rendered(folder: Path, messages: list[dict[str, object]]) -> str:
    told = Told()
    Chat(folder, told).encode(json.dumps({"messages": messages, "tools": TOOLS}))  # type: ignore[arg-type]
    return told.text


@pytest.mark.parametrize("name", real_templates.FORMS)
def test_what_a_template_writes_of_calls_is_read(name, tmp_path):
    (tmp_path / "chat_template.jinja").write_text(real_templates.read(name), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<s>", "eos_token": "</s>"}')
    form = real_templates.FORMS[name]
    names = ["get_weather", "get_time"]
    calls = [
        {"id": f"call_{one}", "type": "function", "function": {"name": one, "arguments": json.dumps(told)}}
        for one, told in zip(names, ARGUMENTS, strict=True)
    ]
    results = [{"role": "tool", "tool_call_id": one["id"], "content": "warm"} for one in calls]
    messages = [ASKED, {"role": "assistant", "content": "", "tool_calls": calls}, *results]
    text = rendered(tmp_path, tools.load(form).told(messages))
    found = []
    for turn in turns(form, text.partition(ASKED["content"])[2]):
        found += [(one, json.loads(told)) for one, told in read(form, turn)[1]]
    assert found == list(zip(names, ARGUMENTS, strict=True))


def turns(form: str, text: str) -> list[str]:
    """Return what an assistant may have written: of Llama 3 each turn, since a call is a whole answer."""
    if form != "llama3":
        return [text]
    return [turn.rsplit("<|end_header_id|>", 1)[-1] for turn in text.split("<|eot_id|>")]
