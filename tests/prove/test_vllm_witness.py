"""vLLM as a witness, against a stand-in with the arguments of vLLM 0.22's `LLM`; the library needs a GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from builder.proving import vllm


def _generate(prompts: list[Any], asked: SimpleNamespace, use_tqdm: bool) -> list[SimpleNamespace]:
    """Answer with the id after the last; its logit is higher the fewer were asked at once."""
    assert not use_tqdm

    def answered(prompt: dict[str, list[int]]) -> SimpleNamespace:
        following = (prompt["prompt_token_ids"][-1] + 1) % 7
        likeliest = {following: SimpleNamespace(logprob=4.0 - len(prompts)), 0: SimpleNamespace(logprob=-9.0)}
        return SimpleNamespace(outputs=[SimpleNamespace(logprobs=[likeliest])])

    assert asked.max_tokens == 1 and 0 < asked.logprobs <= 20
    return [answered(prompt) for prompt in prompts]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the library's `LLM` is told."""
    found: dict[str, Any] = {}
    library = ModuleType("vllm")

    def llm(**given: Any) -> SimpleNamespace:
        found.update(given)
        config = SimpleNamespace(get_vocab_size=lambda: 7)
        return SimpleNamespace(llm_engine=SimpleNamespace(model_config=config), generate=_generate)

    library.LLM = llm  # type: ignore[attr-defined]
    library.SamplingParams = SimpleNamespace  # type: ignore[attr-defined]
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


def test_prompts_are_asked_at_once_to_see_what_a_batch_changes(told: dict[str, Any]) -> None:
    model = vllm.load(Path("/artifact/model"), {"max_model_len": 512})
    assert told["max_num_seqs"] > 1
    assert model.again([[1], [4, 2]]) == [{2: 2.0, 0: -9.0}, {3: 2.0, 0: -9.0}]
