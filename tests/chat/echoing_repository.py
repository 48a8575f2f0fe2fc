"""A deployment that answers with the prompt it got: the real Python models around an engine that echoes."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parents[1] / "verifications"))

import scripted_repository

NAME = scripted_repository.NAME
CONTEXT = 400
ENDLESS = "for ever"
OFFENCE = "offend"
MARKS = {"start": "((", "end": "))"}


def write(repository: Path, *, step_seconds: float = 0.002) -> Path:
    """Write it and return its folder.

    A message that holds ENDLESS fills the context, one with OFFENCE is refused by the engine, and what
    stands between MARKS is reasoning.
    """
    scripted_repository.write(repository)
    front = repository / NAME / "1"
    shutil.copyfile(Path(__file__).parent / "echoing_engine.py", front / "backends" / "engine" / "echoing.py")
    tokenizer = Tokenizer.from_file(str(front / "tokenizer" / "tokenizer.json"))
    settings = json.loads((front / "settings.json").read_text())
    settings |= {
        "engine": "echoing",
        "engine_arguments": {
            "endless": tokenizer.encode(f" {ENDLESS}", add_special_tokens=False).ids,
            "refused": tokenizer.encode(f" {OFFENCE}", add_special_tokens=False).ids,
            "step_seconds": step_seconds,
        },
        "context_length": CONTEXT,
        "reasoning": MARKS,
    }
    (front / "settings.json").write_text(json.dumps(settings))
    return repository
