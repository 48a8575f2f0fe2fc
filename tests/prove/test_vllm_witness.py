"""vLLM as a witness, against a stand-in with the arguments of vLLM 0.22's `LLM`; the library needs a GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from builder.proving import vllm


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the library's `LLM` is told."""
    found: dict[str, Any] = {}
    library = ModuleType("vllm")

    def llm(**given: Any) -> SimpleNamespace:
        found.update(given)
        config = SimpleNamespace(get_vocab_size=lambda: 7)
        return SimpleNamespace(llm_engine=SimpleNamespace(model_config=config))

    library.LLM = llm  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", library)
    return found


def test_nothing_is_guessed_ahead_and_the_cache_is_as_it_will_be_served(told: dict[str, Any]) -> None:
    arguments = {
        "max_model_len": 512,
        "kv_cache_dtype": "fp8_e4m3",
        "speculative_config": {"method": "draft_model", "model": "draft", "num_speculative_tokens": 3},
    }
    vllm.load(Path("/artifact/model"), arguments)
    assert "speculative_config" not in told
    assert (told["kv_cache_dtype"], told["max_model_len"]) == ("fp8_e4m3", 512)
