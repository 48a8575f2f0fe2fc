"""What a Guide says, as llguidance reads it, compiled for the tokens of one model.

The parser is given the bytes that each token adds to the text of an answer (backends/text/decoding.py), so
that it is this text, and not a tokenizer's idea of it, that obeys. Tokens without bytes never come.
"""

from __future__ import annotations

import importlib.util
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from backends.engine.protocol import Guide, InvalidRequest
from backends.text.decoding import Vocabulary

PACKAGE = "llguidance"

LONGEST = 64 << 10
"""Characters of a guide; what follows from them is bounded by LIMITS."""

DEEPEST = 100
"""How deep brackets may be nested in a guide: parsers of such texts recurse."""

LIMITS = {"max_lexer_states": 20_000, "verbose_errors": False}
"""Of llguidance (parser/src/api.rs), whose other limits bound the work of compiling and of each mask. A state
was seen to take 0.6 kB, and all sequences of a guide share them."""

STACK_BYTES = 512 << 20
"""What compiling may recurse in: rules that lead to rules took 16 kB each. Only what is used takes memory."""

JSON = {"whitespace_pattern": r"[\x20\x0A\x0D\x09]{1,64}"}
"""Small models get lost in white space, which JSON allows without an end."""

MOST = 2**53
"""The largest whole number of a schema, which is that of RFC 8259, 6, for all who are to understand it."""

MARK = "\x02"
"""A character that is no part of any longer token."""

SHOWN = 400
"""Characters of a reason that a client gets to see."""


def available() -> bool:
    """Return whether guides can be compiled here."""
    return importlib.util.find_spec(PACKAGE) is not None


class Compiler:
    """Compiles guides for the vocabulary of a tokenizer.json; for one thread only, of STACK_BYTES."""

    def __init__(self, tokenizer: Path) -> None:
        self._file = tokenizer

    @property
    def tokens(self) -> int:
        """Return the number of tokens, the one that stands for the end among them."""
        return int(self._vocabulary.vocab_size)

    @cached_property
    def _vocabulary(self) -> Any:
        """The vocabulary as the library keeps it, made when the first guide comes."""
        import llguidance

        return llguidance.LLTokenizer(_Tokens(self._file))

    def compile(self, guide: Guide) -> Any:
        """Return an llguidance.LLMatcher before its first token, to be copied for each sequence.

        Its tokens are those of the model and one more, the last, which stands for the end.

        Raises InvalidRequest with the library's reason for a guide that it does not take.
        """
        import llguidance

        _require_bounds(guide.text)
        limits = llguidance.LLParserLimits(**LIMITS)
        matcher = llguidance.LLMatcher(self._vocabulary, _grammar(guide), log_level=0, limits=limits)
        if matcher.is_error():
            raise refused(matcher.get_error())
        self._rehearse(matcher.deep_copy())
        return matcher

    def _rehearse(self, matcher: Any) -> None:
        """Choose a first token: some guides that are too much show it only then."""
        bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        first = int(np.unpackbits(bits, bitorder="little").argmax())
        if first != self.tokens - 1:
            matcher.consume_token(first)
        if matcher.is_error():
            raise refused(matcher.get_error())


def refused(reason: str) -> InvalidRequest:
    """Return the error of a guide, with the reason for it."""
    shown = " ".join(reason.removesuffix("<non-verbose/>").split())
    if shown == "NoExtensionBias":
        shown = "no text has the form that it asks for"
    return InvalidRequest(f"guided_decoding_guide cannot be followed: {shown[:SHOWN]}")


class _Tokens:
    """A vocabulary in the form in which llguidance.LLTokenizer takes one, which is its TokenizerWrapper."""

    is_tokenizer_wrapper = True
    bos_token_id = None
    special_token_ids: tuple[int, ...] = ()

    def __init__(self, file: Path) -> None:
        from tokenizers import Tokenizer

        self.tokens = [*Vocabulary.load(file).table, b""]
        self.eos_token_id = len(self.tokens) - 1
        self._tokenizer = Tokenizer.from_file(str(file))

    def __call__(self, text: str) -> list[int]:
        """Return the ids of a text that the guide leaves no choice about, as the model knows it."""
        ids = self._encode(text)
        if self._bytes(ids) == text.encode():
            return ids
        # some put a space before every text, and before a mark as well
        mark = self._encode(MARK)
        return self._encode(MARK + text)[len(mark) :]

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _bytes(self, ids: list[int]) -> bytes:
        return b"".join(self.tokens[token] for token in ids)


def _require_bounds(text: str) -> None:
    if len(text) > LONGEST:
        raise InvalidRequest(
            f"guided_decoding_guide has {len(text)} characters, at most {LONGEST} are taken: shorten it"
        )
    depth = deepest = 0
    for character in text:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}" and depth:
            depth -= 1
    if deepest > DEEPEST:
        raise InvalidRequest(
            f"guided_decoding_guide nests brackets {deepest} deep, at most {DEEPEST} are taken: flatten it"
        )


def _grammar(guide: Guide) -> str:
    from llguidance import LLMatcher
    from llguidance.gbnf_to_lark import any_to_lark

    try:
        match guide.kind:
            case "json":
                return str(LLMatcher.grammar_from_json_schema({"type": "object"}, overrides=JSON))
            case "json_schema":
                return str(LLMatcher.grammar_from_json_schema(_schema(guide.text), overrides=JSON))
            case "regex":
                return str(LLMatcher.grammar_from_regex(guide.text))
            case "ebnf_grammar":
                return str(any_to_lark(guide.text))
    except Exception as error:
        # the library's converters raise what comes to their minds, Exception itself too
        raise refused(str(error)) from error
    raise InvalidRequest(f"guided_decoding_guide_type is {guide.kind!r}, which this engine does not know")


def _schema(text: str) -> dict[str, Any]:
    """Return a schema as an object, which can hold options: true is that of anything, false of nothing."""
    schema = json.loads(text, parse_int=_integer)
    return {"enum": []} if schema is False else {} if schema is True else dict(schema)


def _integer(digits: str) -> int:
    # the library reckons with floats: others would be rounded to what the schema does not allow, or end it
    if abs(number := int(digits)) > MOST:
        raise ValueError(f"{digits[:40]} is beyond {MOST}, up to which every whole number is a float")
    return number
