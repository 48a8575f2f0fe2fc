"""An answer that must have a form has it, whole, and whoever asks for none is left alone."""

from __future__ import annotations

import json
import re
from typing import Any

from builder.subject import Skipped, Subject, expect, together
from builder.triton_client import Answer

ORDER = 65
SCOPE = "generation"

TOKENS = 48
PLACES = ("north", "east", "south", "west")
REGEX = r"(yes|no), [0-9]{2,4}"
GRAMMAR = 'root ::= "[" place "]"\nplace ::= "left" | "right"'


def json_schema_is_followed(subject: Subject) -> str:
    """An answer held to a JSON schema is JSON that the schema allows, greedy and sampled."""
    schema = json.dumps({"enum": list(PLACES)})
    seen = [_whole(subject, "json_schema", schema, **more) for more in ({}, {"temperature": 2.0, "seed": 3})]
    for text in seen:
        expect(text in map(json.dumps, PLACES), f"{text!r} is none of {', '.join(PLACES)} as JSON")
    return " and ".join(seen)


def json_is_an_object(subject: Subject) -> str:
    """An answer of type json is a JSON object, or the beginning of one where max_tokens cut it."""
    answer = _answer(subject, "json", "")
    text = answer.text()
    expect(text.lstrip().startswith("{"), f"{text!r} begins no JSON object")
    if answer.finish_reason() == "stop":
        expect(isinstance(_json(text), dict), f"{text!r} is no JSON object")
    return repr(text)


def regex_is_followed(subject: Subject) -> str:
    """An answer held to a regular expression is matched by it as a whole, and then ends."""
    text = _whole(subject, "regex", REGEX)
    expect(bool(re.fullmatch(REGEX, text)), f"{text!r} is not of the form {REGEX}")
    return repr(text)


def grammar_is_followed(subject: Subject) -> str:
    """An answer held to a grammar in EBNF is a sentence of it."""
    text = _whole(subject, "ebnf_grammar", GRAMMAR)
    expect(text in ("[left]", "[right]"), f"{text!r} is no sentence of {GRAMMAR!r}")
    return repr(text)


def guides_spare_neighbours(subject: Subject) -> str:
    """Answers beside guided ones are what they are alone."""
    prompt = subject.prompt()
    _answer(subject, "regex", REGEX)
    whole = subject.whole(prompt, 8)

    def ask(index: int) -> Answer:
        if index % 2:
            return subject.client.stream(subject.name, _inputs(subject, "regex", REGEX))
        return subject.client.stream(subject.name, subject.inputs(prompt, max_tokens=8, stream=True))

    for index, answer in enumerate(together(ask, range(8))):
        seen = subject.good(answer)
        if index % 2:
            expect(bool(re.fullmatch(REGEX, seen.text())), f"{seen.text()!r} is not of the form {REGEX}")
        else:
            subject.follows(prompt, seen.ids(), 8)
            expect(len(seen.ids()) == len(whole.ids()), f"{seen.ids()} beside guides, {whole.ids()} alone")
    return "4 free answers beside 4 guided ones"


def impossible_guide_is_refused(subject: Subject) -> str:
    """A guide that is none is refused before any token, and harms nobody after it."""
    _answer(subject, "regex", REGEX)
    wrong = {"regex": "(", "json_schema": "{", "ebnf_grammar": "root ::= nothing"}
    return subject.refuses(
        {f"{kind} {text}": (_inputs(subject, kind, text), ()) for kind, text in wrong.items()}
    )


def _inputs(subject: Subject, kind: str, guide: str, **more: Any) -> dict[str, Any]:
    told = {"guided_decoding_guide": guide} if guide else {}
    return subject.inputs(
        subject.prompt(), max_tokens=TOKENS, guided_decoding_guide_type=kind, **told, **more
    )


def _answer(subject: Subject, kind: str, guide: str, **more: Any) -> Answer:
    """Return a guided answer; skip the check where the engine takes no guides."""
    answer = subject.client.stream(subject.name, _inputs(subject, kind, guide, **more))
    if answer.error is not None and "does not support" in answer.error:
        raise Skipped(answer.error)
    return subject.good(answer)


def _whole(subject: Subject, kind: str, guide: str, **more: Any) -> str:
    """Return the text of a guided answer that has to end by itself."""
    answer = _answer(subject, kind, guide, **more)
    text, reason = answer.text(), answer.finish_reason()
    expect(reason == "stop", f"{kind}: {text!r} ended with {reason!r}, expected 'stop'")
    return text


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
