"""Build tokenizer.json from a GGUF header, as the model's authors published it.

GGUF names the way text is cut before merging only by a word (`tokenizer.ggml.pre`); the table below
gives each word its meaning, from the tokenizer.json of the model that introduced it. Guessing it wrong
goes unnoticed until numbers or foreign scripts are tokenised otherwise than in training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from builder.errors import SourceError
from builder.gguf.header import Header

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""`tokenizer.ggml.token_type`."""

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_PATTERN = LLAMA3_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Cut:
    """How text is cut into pieces before merging.

    Without a `pattern` GPT-2's own is used. `whole_words` takes a piece that is in the vocabulary as it
    is, without merging; `begins` adds the BOS token where the file does not say.
    """

    pattern: str | None = None
    digits: bool = False
    composed: bool = False
    whole_words: bool = False
    begins: bool = False


_GPT2 = Cut()
_DIGITS = Cut(digits=True)
_LLAMA3 = Cut(LLAMA3_PATTERN, whole_words=True, begins=True)
_QWEN2 = Cut(QWEN2_PATTERN, composed=True)

CUTS: Mapping[str, Cut] = {
    "default": _GPT2,
    "gpt-2": _GPT2,
    "smollm": _DIGITS,
    "starcoder": _DIGITS,
    "refact": _DIGITS,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "tekken": Cut(TEKKEN_PATTERN, whole_words=True, begins=True),
}


def tokenizer_json(header: Header) -> str:
    """Return the text of tokenizer.json; raise SourceError for a tokenizer not known here."""
    from tokenizers import Tokenizer

    kind = header.settings["tokenizer.ggml.model"]
    builders = {"gpt2": _byte_level, "llama": _sentencepiece}
    if kind not in builders:
        raise SourceError(
            f"{header.path}: tokenizer.ggml.model is {kind!r}",
            expected=f"one of {', '.join(builders)}",
            remedy="pass the Hugging Face checkpoint of this model instead",
        )
    described = builders[kind](header)
    try:
        return str(Tokenizer.from_str(json.dumps(described)).to_str(pretty=False))
    except Exception as error:
        raise SourceError(
            f"{header.path}: its vocabulary and merges do not fit together ({error})",
            expected="merges of tokens that are in the vocabulary",
            remedy="convert the model to GGUF again with a current llama.cpp",
        ) from error


def tokenizer_config(header: Header, context_length: int) -> dict[str, Any]:
    """Return tokenizer_config.json: the class, and the special tokens as text."""
    tokens = header.array("tokenizer.ggml.tokens")
    keys = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
    special = {}
    for name, key in keys.items():
        identifier = header.settings.get(f"tokenizer.ggml.{key}_token_id")
        if identifier is not None:
            special[name] = _token(header, tokens, identifier)
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": context_length,
        **special,
    }


def _byte_level(header: Header) -> dict[str, Any]:
    cut = _cut(header)
    tokens = header.array("tokenizer.ggml.tokens")
    merges = [_merge(header, merge) for merge in header.array("tokenizer.ggml.merges")]
    pieces: list[dict[str, Any]] = []
    if cut.digits:
        pieces.append({"type": "Digits", "individual_digits": True})
    if cut.pattern is not None:
        pattern = {"Regex": cut.pattern}
        pieces.append({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False})
    pieces.append(_bytes(use_regex=cut.pattern is None))
    model = _model(tokens, merges, ignore_merges=cut.whole_words)
    return {
        "version": "1.0",
        "added_tokens": _added(header, tokens, (CONTROL, USER_DEFINED)),
        "normalizer": {"type": "NFC"} if cut.composed else None,
        "pre_tokenizer": pieces[0] if len(pieces) == 1 else {"type": "Sequence", "pretokenizers": pieces},
        "post_processor": _frame(header, tokens, begins=cut.begins),
        "decoder": _bytes(use_regex=True),
        "model": model,
    }


def _sentencepiece(header: Header) -> dict[str, Any]:
    tokens = header.array("tokenizer.ggml.tokens")
    leading_space = header.settings.get("tokenizer.ggml.add_space_prefix", True)
    unknown = header.settings.get("tokenizer.ggml.unknown_token_id")
    model = _model(tokens, _merges_from_scores(header, tokens), byte_fallback=True, fuse_unk=True)
    if unknown is not None:
        model["unk_token"] = _token(header, tokens, unknown)
    normalizers: list[dict[str, Any]] = [{"type": "Prepend", "prepend": "▁"}] if leading_space else []
    normalizers.append({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if leading_space:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "version": "1.0",
        "added_tokens": _added(header, tokens, (UNKNOWN, CONTROL, USER_DEFINED)),
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": None,
        "post_processor": _frame(header, tokens, begins=True),
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": model,
    }


def _cut(header: Header) -> Cut:
    name = header.settings.get("tokenizer.ggml.pre", "default")
    if name not in CUTS:
        raise SourceError(
            f"{header.path}: tokenizer.ggml.pre is {name!r}, a way to cut text that is not known here",
            expected=f"one of {', '.join(CUTS)}",
            remedy="pass the Hugging Face checkpoint of this model instead",
        )
    return CUTS[name]


def _model(tokens: list[str], merges: list[list[str]], **flags: Any) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        **flags,
        "vocab": {token: identifier for identifier, token in enumerate(tokens)},
        "merges": merges,
    }


def _bytes(*, use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _merge(header: Header, text: str) -> list[str]:
    # the separator is the first space that has something before it
    position = text.find(" ", 1)
    if position < 0:
        raise SourceError(
            f"{header.path}: the merge {text!r} has no second half",
            expected="two tokens with a space between them",
            remedy="convert the model to GGUF again with a current llama.cpp",
        )
    return [text[:position], text[position + 1 :]]


def _merges_from_scores(header: Header, tokens: list[str]) -> list[list[str]]:
    """Return the merges that sentencepiece's scores imply: the best score first, then the lowest ids."""
    scores = header.array("tokenizer.ggml.scores")
    types = _types(header, tokens)
    normal = {token: index for index, token in enumerate(tokens) if types[index] == NORMAL}
    ranked = []
    for token, index in normal.items():
        for position in range(1, len(token)):
            left, right = token[:position], token[position:]
            if left in normal and right in normal:
                ranked.append((-scores[index], index, normal[left], normal[right], left, right))
    ranked.sort()
    return [[left, right] for *_, left, right in ranked]


def _types(header: Header, tokens: list[str]) -> list[int]:
    if "tokenizer.ggml.token_type" not in header.arrays:
        return [NORMAL] * len(tokens)
    types = header.array("tokenizer.ggml.token_type")
    if len(types) != len(tokens):
        raise SourceError(
            f"{header.path}: {len(tokens)} tokens and {len(types)} token types",
            expected="one type for each token",
            remedy="convert the model to GGUF again with a current llama.cpp",
        )
    return types


def _added(header: Header, tokens: list[str], kinds: tuple[int, ...]) -> list[dict[str, Any]]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": index, "content": tokens[index], **plain, "special": kind != USER_DEFINED}
        for index, kind in enumerate(_types(header, tokens))
        if kind in kinds
    ]


def _frame(header: Header, tokens: list[str], *, begins: bool) -> dict[str, Any] | None:
    """Return the template that puts BOS before and EOS after a text, as far as the file asks for it."""
    before = _framing(header, tokens, "bos", header.settings.get("tokenizer.ggml.add_bos_token", begins))
    after = _framing(header, tokens, "eos", header.settings.get("tokenizer.ggml.add_eos_token", False))
    if not before and not after:
        return None

    def wrapped(sequence: str, number: int) -> list[dict[str, Any]]:
        special = [
            [{"SpecialToken": {"id": token, "type_id": number}} for token in side] for side in (before, after)
        ]
        return [*special[0], {"Sequence": {"id": sequence, "type_id": number}}, *special[1]]

    return {
        "type": "TemplateProcessing",
        "single": wrapped("A", 0),
        "pair": [*wrapped("A", 0), *wrapped("B", 1)],
        "special_tokens": {
            token: {"id": token, "ids": [identifier], "tokens": [token]}
            for token, identifier in (before | after).items()
        },
    }


def _framing(header: Header, tokens: list[str], name: str, wanted: bool) -> dict[str, int]:
    identifier = header.settings.get(f"tokenizer.ggml.{name}_token_id")
    if not wanted or identifier is None:
        return {}
    return {_token(header, tokens, identifier): identifier}


def _token(header: Header, tokens: list[str], identifier: int) -> str:
    if not 0 <= identifier < len(tokens):
        raise SourceError(
            f"{header.path}: token id {identifier} is outside the vocabulary of {len(tokens)}",
            expected=f"an id from 0 to {len(tokens) - 1}",
            remedy="convert the model to GGUF again with a current llama.cpp",
        )
    return tokens[identifier]
