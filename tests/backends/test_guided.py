"""What a guided sequence may say, by the tokens of a real tokenizer and logits of every kind."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from backends.engine.grammars import DEEPEST, LONGEST, MOST, Compiler
from backends.engine.guided import Guided
from backends.engine.protocol import Guide, InvalidRequest, Sampling
from backends.engine.sampling import Sampler, log_probability
from backends.text.decoding import Vocabulary, decode

VOCABULARY = 49152
END = 2
PLAIN = np.zeros(VOCABULARY, dtype=np.float32)


@pytest.fixture(scope="module")
def file(tokenizer_folder: Path) -> Path:
    pytest.importorskip("llguidance")
    return tokenizer_folder / "tokenizer.json"


@pytest.fixture(scope="module")
def compiler(file: Path) -> Compiler:
    return Compiler(file)


@pytest.fixture(scope="module")
def vocabulary(file: Path) -> Vocabulary:
    return Vocabulary.load(file)


def guided(compiler: Compiler, kind: str, text: str = "", end_ids: Sequence[int] = (END,)) -> Guided:
    return Guided(compiler.compile(Guide(kind, text)), compiler.tokens, frozenset(end_ids))


def said(
    compiler: Compiler, vocabulary: Vocabulary, guide: tuple[str, ...], most: int = 400, **options: Any
) -> tuple[str, str]:
    """Return text and finish reason of a model that says anything: its logits are noise of a seed."""
    seed = options.pop("noise", 0)
    sampling = Sampling(**{"max_tokens": most, "end_ids": frozenset({END}), "log_probs": True, **options})
    sampler = Sampler(sampling, [1], guided(compiler, *guide, end_ids=tuple(sampling.end_ids)))
    random = np.random.default_rng(seed)
    ids: list[int] = []
    while True:
        logits = random.standard_normal(VOCABULARY, dtype=np.float32)
        before = logits.copy()
        step = sampler.step(logits)
        assert np.array_equal(logits, before)
        assert step.log_probs == tuple(log_probability(before, token) for token in step.ids)
        ids += step.ids
        if step.finish_reason:
            return decode(vocabulary, ids), step.finish_reason


EXPRESSIONS = [
    "(yes|no), [0-9]{2,4}",
    "[a-z]{3}",
    "(?i)triton",
    r"\d{4}-\d{2}-\d{2}",
    "日本語|中文|한국",
    "\U0001f389{2}",
    " leading and trailing ",
    r"[^a-z\s]{5}",
    r"\.\*\(\)/\\",
    "a/b\"c'd",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_regular_expression_is_of_the_whole_text(
    compiler: Compiler, vocabulary: Vocabulary, expression: str, temperature: float
) -> None:
    for noise in range(3):
        text, reason = said(
            compiler, vocabulary, ("regex", expression), temperature=temperature, seed=5, noise=noise
        )
        assert reason == "stop"
        assert re.fullmatch(expression, text), text


def test_nothing_at_all_can_be_the_form(compiler: Compiler, vocabulary: Vocabulary) -> None:
    assert said(compiler, vocabulary, ("regex", "(?:)")) == ("", "stop")


@pytest.mark.parametrize("end_ids", [frozenset({END}), frozenset({0, 7, END}), frozenset()])
def test_the_end_comes_only_where_the_form_is_complete(
    compiler: Compiler, vocabulary: Vocabulary, end_ids: frozenset[int]
) -> None:
    # nothing is likelier than an end
    sampling = Sampling(max_tokens=20, end_ids=end_ids, logit_bias=dict.fromkeys(end_ids, 1e4))
    sampler = Sampler(sampling, [1], guided(compiler, "regex", "ab+c?d", end_ids=tuple(end_ids)))
    ids: list[int] = []
    while True:
        step = sampler.step(PLAIN)
        ids += step.ids
        if step.finish_reason:
            break
    text = decode(vocabulary, ids)
    assert step.finish_reason == ("stop" if text.endswith("d") else "length")
    assert re.fullmatch("ab+c?d", text) or (step.finish_reason, set(text)) == ("length", {"a", "b"})


def test_where_it_may_end_the_model_decides(compiler: Compiler, vocabulary: Vocabulary) -> None:
    """Bias makes the end certain as soon as it may come; without it this model would go on for ever."""
    towards_the_end = {"logit_bias": {END: 1e4}}
    assert said(compiler, vocabulary, ("regex", "[a-z]{3}[a-z]*"), **towards_the_end)[1] == "stop"
    away = {"logit_bias": {END: -1e4}}
    text, reason = said(compiler, vocabulary, ("regex", "[a-z]{3}[a-z]*"), most=30, **away)
    assert (reason, re.fullmatch("[a-z]{3,}", text) is not None) == ("length", True)


def test_min_tokens_puts_the_end_off_but_not_beyond_what_can_be_said(
    compiler: Compiler, vocabulary: Vocabulary
) -> None:
    eager = {"logit_bias": {END: 1e4}, "min_tokens": 9}
    text, reason = said(compiler, vocabulary, ("regex", "(ab)*"), **eager)
    assert reason == "stop"
    assert len(text) >= 9
    assert said(compiler, vocabulary, ("regex", "yes"), **eager) == ("yes", "stop")


def test_the_last_token_that_fits_is_a_whole_answer(compiler: Compiler, vocabulary: Vocabulary) -> None:
    bits = ("regex", "[01]{4}")
    one_by_one = {"bad_ids": tuple((token,) for token, text in enumerate(vocabulary.table) if len(text) > 1)}
    assert said(compiler, vocabulary, bits, most=4, **one_by_one)[1] == "stop"
    text, reason = said(compiler, vocabulary, bits, most=3, **one_by_one)
    assert (len(text), reason) == (3, "length")


def test_neither_bias_nor_penalties_bring_what_is_forbidden(
    compiler: Compiler, vocabulary: Vocabulary
) -> None:
    loud = dict.fromkeys(range(100, 200), 1e4)
    options = {"logit_bias": loud, "repetition_penalty": 0.01, "presence_penalty": -100.0}
    assert said(compiler, vocabulary, ("regex", "(yes|no)!"), **options)[0] in ("yes!", "no!")


def test_bias_chooses_among_what_is_allowed(compiler: Compiler, vocabulary: Vocabulary) -> None:
    letters = {bytes(text): token for token, text in enumerate(vocabulary.table) if text in (b"a", b"b")}
    for letter in (b"a", b"b"):
        options = {"logit_bias": {letters[letter]: 100.0}}
        assert said(compiler, vocabulary, ("regex", "[ab]"), **options) == (letter.decode(), "stop")


def test_bad_words_are_kept_out_and_may_leave_nothing(compiler: Compiler, vocabulary: Vocabulary) -> None:
    yes = tuple((token,) for token, text in enumerate(vocabulary.table) if text[:1] == b"y")
    assert said(compiler, vocabulary, ("regex", "yes|no"), bad_ids=yes) == ("no", "stop")
    with pytest.raises(
        InvalidRequest, match="bad_words, logit_bias, the guide and min_tokens together forbid"
    ):
        said(compiler, vocabulary, ("regex", "yes"), bad_ids=yes)


@pytest.mark.parametrize("options", [{"top_k": 3}, {"top_p": 0.3}, {"min_p": 0.5}])
def test_the_likeliest_are_the_likeliest_of_what_is_allowed(
    compiler: Compiler, vocabulary: Vocabulary, options: dict[str, Any]
) -> None:
    for noise in range(5):
        text, reason = said(
            compiler, vocabulary, ("regex", "[xyz]{9}"), temperature=1.0, seed=noise, noise=noise, **options
        )
        assert (reason, re.fullmatch("[xyz]{9}", text) is not None) == ("stop", True)


def test_the_same_seed_says_the_same(compiler: Compiler, vocabulary: Vocabulary) -> None:
    def once(seed: int) -> tuple[str, str]:
        return said(compiler, vocabulary, ("regex", "[a-z ]{40}"), temperature=1.0, seed=seed)

    assert once(1) == once(1)
    assert once(1) != once(2)


def test_control_tokens_never_come(compiler: Compiler, vocabulary: Vocabulary) -> None:
    held = guided(compiler, "regex", "(?s).*").held(PLAIN)
    silent = [token for token, text in enumerate(vocabulary.table) if not text]
    assert END in silent and len(silent) > 3
    assert [token for token in silent if math.isfinite(held[token])] == [END]


@pytest.mark.parametrize("width", [VOCABULARY - 100, VOCABULARY + 64])
def test_a_model_may_have_another_number_of_tokens_than_its_tokenizer(compiler: Compiler, width: int) -> None:
    held = guided(compiler, "regex", "(?s).*").held(np.zeros(width, dtype=np.float32))
    assert len(held) == width
    assert not np.isfinite(held[VOCABULARY:]).any()
    assert np.isfinite(held[:VOCABULARY]).sum() > 40_000


def test_a_space_before_every_text_is_the_tokenizer_s_own(sentence_piece_folder: Path) -> None:
    compiler = Compiler(sentence_piece_folder / "tokenizer.json")
    vocabulary = Vocabulary.load(sentence_piece_folder / "tokenizer.json")
    held = guided(compiler, "regex", "hello é世[0-9]").held(np.zeros(compiler.tokens - 1, dtype=np.float32))
    allowed = {bytes(vocabulary.table[token]) for token in np.flatnonzero(np.isfinite(held))}
    assert allowed and all(b"hello".startswith(text) for text in allowed), allowed
    for noise in range(3):
        text = _by_noise(compiler, vocabulary, "hello é世[0-9]|w{2}o  h", noise)
        assert re.fullmatch("hello é世[0-9]|w{2}o  h", text), text


def _by_noise(compiler: Compiler, vocabulary: Vocabulary, expression: str, noise: int) -> str:
    sampler = Sampler(
        Sampling(max_tokens=50, end_ids=frozenset({END})), [1], guided(compiler, "regex", expression)
    )
    random = np.random.default_rng(noise)
    ids: list[int] = []
    while True:
        step = sampler.step(random.standard_normal(compiler.tokens - 1, dtype=np.float32))
        ids += step.ids
        if step.finish_reason:
            return decode(vocabulary, ids)


# -- JSON -----------------------------------------------------------------------------------------


def test_any_object_is_json(compiler: Compiler, vocabulary: Vocabulary) -> None:
    ended = 0
    for noise in range(6):
        # noise seldom closes what it opens
        text, reason = said(
            compiler, vocabulary, ("json",), noise=noise, logit_bias=_towards(vocabulary, '"', "}", ":", ",")
        )
        assert text.startswith("{")
        if reason == "stop":
            ended += 1
            assert isinstance(json.loads(text), dict)
    assert ended


def _towards(vocabulary: Vocabulary, *texts: str) -> dict[int, float]:
    wanted = {text.encode() for text in texts}
    return {token: 6.0 for token, text in enumerate(vocabulary.table) if text in wanted}


def _texts(shortest: int, longest: int) -> some.SearchStrategy[str]:
    # the tokenizer has no tokens for the first bytes of some characters that are hardly ever written
    return some.text(
        some.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), min_size=shortest, max_size=longest
    )


def _strings() -> some.SearchStrategy[Any]:
    bounds = some.tuples(some.integers(0, 4), some.integers(0, 4))
    bounded = bounds.map(lambda pair: {"type": "string", "minLength": pair[0], "maxLength": sum(pair)})
    patterns = some.sampled_from(["^[a-z]{2,5}$", "^(on|off)$", "^\\d{3}-[A-F]$"])
    return bounded | patterns.map(lambda pattern: {"type": "string", "pattern": pattern})


def _numbers() -> some.SearchStrategy[Any]:
    ranges = some.tuples(some.integers(-2000, 2000), some.integers(0, 3000))
    return some.tuples(some.sampled_from(["integer", "number"]), ranges).map(
        lambda told: {"type": told[0], "minimum": told[1][0], "maximum": sum(told[1])}
    )


_SIMPLE = (
    some.sampled_from([{"type": "boolean"}, {"type": "null"}, {"const": 'a "quoted" \\ text'}])
    | some.lists(_texts(0, 4) | some.integers(-MOST, MOST) | some.booleans(), min_size=1).map(
        lambda values: {"enum": values}
    )
    | _strings()
    | _numbers()
)


def _objects(inner: some.SearchStrategy[Any]) -> some.SearchStrategy[Any]:
    names = _texts(1, 6)
    return some.dictionaries(names, some.tuples(inner, some.booleans()), max_size=4).map(
        lambda told: {
            "type": "object",
            "properties": {name: schema for name, (schema, _) in told.items()},
            "required": [name for name, (_, needed) in told.items() if needed],
            "additionalProperties": False,
        }
    )


def _arrays(inner: some.SearchStrategy[Any]) -> some.SearchStrategy[Any]:
    return some.tuples(inner, some.integers(0, 2), some.integers(0, 2)).map(
        lambda told: {"type": "array", "items": told[0], "minItems": told[1], "maxItems": told[1] + told[2]}
    )


SCHEMAS = some.recursive(
    _SIMPLE,
    lambda inner: (
        _objects(inner)
        | _arrays(inner)
        | some.lists(inner, min_size=1, max_size=3).map(lambda schemas: {"anyOf": schemas})
    ),
    max_leaves=6,
)


@settings(max_examples=60)
@given(schema=SCHEMAS, noise=some.integers(0, 2**31), temperature=some.sampled_from([0.0, 1.0]))
def test_what_is_said_of_a_schema_is_valid(
    compiler: Compiler, vocabulary: Vocabulary, schema: dict[str, Any], noise: int, temperature: float
) -> None:
    blank = {token: -50.0 for token, text in enumerate(vocabulary.table) if text and not text.strip()}
    text, reason = said(
        compiler,
        vocabulary,
        ("json_schema", json.dumps(schema)),
        most=3000,
        noise=noise,
        temperature=temperature,
        logit_bias=blank,
    )
    assert reason == "stop", text
    jsonschema.validate(json.loads(text), schema, cls=jsonschema.Draft202012Validator)


TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"name": {"enum": ["leaf"]}, "next": {"$ref": "#/$defs/node"}},
            "required": ["name"],
            "additionalProperties": False,
        }
    },
}


def test_a_schema_may_hold_itself(compiler: Compiler, vocabulary: Vocabulary) -> None:
    blank = {token: -50.0 for token, text in enumerate(vocabulary.table) if text and not text.strip()}
    found = [
        said(compiler, vocabulary, ("json_schema", json.dumps(TREE)), noise=noise, logit_bias=blank)
        for noise in range(20)
    ]
    whole = [json.loads(text) for text, reason in found if reason == "stop"]
    for value in whole:
        jsonschema.validate(value, TREE)
    assert any("next" in value for value in whole)


def test_a_schema_may_be_true(compiler: Compiler, vocabulary: Vocabulary) -> None:
    text, _ = said(compiler, vocabulary, ("json_schema", "true"), logit_bias=_towards(vocabulary, "n", "ull"))
    assert text


def test_white_space_has_an_end(compiler: Compiler, vocabulary: Vocabulary) -> None:
    """A model that is in love with it gets on all the same."""
    blank = {token: 50.0 for token, text in enumerate(vocabulary.table) if text and not text.strip()}
    schema = json.dumps({"type": "array", "items": {"const": 1}, "minItems": 1, "maxItems": 1})
    text, reason = said(compiler, vocabulary, ("json_schema", schema), logit_bias=blank)
    assert (json.loads(text), reason) == ([1], "stop")
    assert len(text) > 60


# -- grammars -------------------------------------------------------------------------------------

SUMS = """
# sums in brackets, as deep as one likes
root ::= sum
sum ::= term (" + " term)?
term ::= number | "(" sum ")"
number ::= [1-9] [0-9]?
"""


@pytest.mark.parametrize("grammar", [SUMS, 'start: term " + " term\nterm: /[1-9][0-9]?/'])
def test_a_grammar_is_followed(compiler: Compiler, vocabulary: Vocabulary, grammar: str) -> None:
    ended = 0
    for noise in range(8):
        text, reason = said(compiler, vocabulary, ("ebnf_grammar", grammar), most=60, noise=noise)
        if reason == "stop":
            ended += 1
            assert re.fullmatch(r"[0-9+ ()]+", text), text
            assert isinstance(eval(text), int)
    assert ended


# -- what is refused ------------------------------------------------------------------------------

WRONG = {
    "no expression": ("regex", "(", "unclosed group"),
    "an expression that looks ahead": ("regex", "(?=a)b", "look-around"),
    "no type": ("json_schema", '{"type": "nothing"}', "nothing"),
    "a reference to nowhere": ("json_schema", '{"$ref": "#/$defs/absent"}', "absent"),
    "a reference to elsewhere": ("json_schema", '{"$ref": "http://example.com/schema.json"}', "example.com"),
    "a schema of nothing": ("json_schema", "false", ""),
    "a string shorter than itself": ("json_schema", '{"type": "string", "minLength": 3, "maxLength": 2}', ""),
    "a number that is no float": ("json_schema", f'{{"enum": [{-MOST - 1}]}}', f"is beyond {MOST}"),
    "a pattern that is none": ("json_schema", '{"type": "string", "pattern": "("}', ""),
    "a rule that is not there": ("ebnf_grammar", "root ::= absent", "absent"),
    "no rule at all": ("ebnf_grammar", "what?", ""),
    "nothing but itself": ("json_schema", '{"$ref": "#"}', "no text has the form"),
    "too many alternatives": (
        "json_schema",
        json.dumps({"properties": {f"name {place}": {} for place in range(1500)}, "type": "object"}),
        "max is 2000",
    ),
    "too many characters": ("regex", "a" * (LONGEST + 1), f"at most {LONGEST} are taken"),
    "too deep": ("regex", "(" * 5000 + ")" * 5000, f"brackets 5000 deep, at most {DEEPEST}"),
    "too deep a grammar": ("ebnf_grammar", "root ::= " + "(" * 5000 + '"a"' + ")" * 5000, "5000 deep"),
    "too much": ("regex", "a{1000000}", "too many"),
    "an unknown kind": ("yaml", "a: b", "'yaml'"),
}


@pytest.mark.parametrize(("kind", "text", "reason"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_followed_is_refused(compiler: Compiler, kind: str, text: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match="guided_decoding_guide") as refused:
        guided(compiler, kind, text)
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 600
    # the next one is none the worse for it
    assert np.isfinite(guided(compiler, "regex", "a").held(PLAIN)).sum() == 1
