"""Checks that ask for what an engine does not take beside guesses are skipped, and say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from builder.golden import Golden
from builder.subject import Skipped, Subject
from builder.triton_client import Answer, Client


class Echo:
    """Answers whatever it is asked."""

    def stream(self, name: str, inputs: Any, **options: Any) -> Answer:
        return Answer(replies=cast(Any, [inputs]))


def subject(folder: Path, arguments: dict[str, Any]) -> Subject:
    (folder / "settings.json").write_text(json.dumps({"engine_arguments": arguments}))
    return Subject("tiny", folder, Golden(0.05, ()), cast(Client, Echo()))


def test_only_where_tokens_are_guessed_ahead(tmp_path: Path) -> None:
    guesses = subject(tmp_path, {"speculative_config": {"method": "ngram"}})
    for name in ("min_p", "logit_bias"):
        with pytest.raises(Skipped, match=f"takes no {name} then"):
            guesses.ask({"text_input": "one", name: 1})
    assert guesses.ask({"text_input": "one", "top_p": 0.5}).replies
    assert subject(tmp_path, {}).ask({"text_input": "one", "min_p": 0.5}).replies
