"""What guided decoding of backend tensorrtllm must know of a tokenizer, xgrammar_tokenizer_info_path's file.

Read by getGuidedDecodingConfigFromParams (inflight_batcher_llm/src/model_instance_state.cc of 1.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read(folder: Path, end_ids: Sequence[int]) -> dict[str, Any]:
    """Return the content for a folder with tokenizer.json, whose texts end at `end_ids`.

    An id that no token has is the empty string, so that a token's place is its id.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokens = {number: token for token, number in tokenizer.get_vocab(with_added_tokens=True).items()}
    return {
        "encoded_vocab": [tokens.get(number, "") for number in range(max(tokens) + 1)],
        "tokenizer_str": tokenizer.to_str(),
        "stop_token_ids": list(end_ids),
    }
