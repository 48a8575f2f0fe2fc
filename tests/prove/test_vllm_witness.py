"""vLLM as a witness, against a stand-in with the arguments of vLLM 0.22's `LLM`; the library needs a GPU."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from builder.proving import vllm

VOCABULARY = 7


def _generate(prompts: list[Any], asked: SimpleNamespace, use_tqdm: bool) -> list[SimpleNamespace]:
    """Answer with the id after the last; its logit is higher the fewer were asked at once."""
    assert not use_tqdm

    def answered(prompt: dict[str, list[int]]) -> SimpleNamespace:
        following = (prompt["prompt_token_ids"][-1] + 1) % 7
        likeliest = {following: SimpleNamespace(logprob=4.0 - len(prompts)), 0: SimpleNamespace(logprob=-9.0)}
        return SimpleNamespace(outputs=[SimpleNamespace(logprobs=[likeliest])])

    assert asked.max_tokens == 1 and 0 < asked.logprobs <= 20
    return [answered(prompt) for prompt in prompts]


class Head(torch.nn.Module):
    """A model whose logits are its hidden states."""

    def compute_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden


Rows = Callable[[int], Iterator[slice]]


def rows_of_one_call(tokens: int) -> Iterator[slice]:
    """Ask the head as vLLM's first runner does: without what follows the last of a prompt."""
    yield slice(tokens - 1, tokens)
    yield slice(0, tokens - 1)


def rows_in_chunks(tokens: int) -> Iterator[slice]:
    """Ask the head as vLLM's second runner does: with the last, some at a time."""
    yield slice(tokens - 1, tokens)
    for start in range(0, tokens, 4):
        yield slice(start, start + 4)


class Engine:
    """A stand-in of `LLM` with two workers, of which the first alone has the logits; it keeps no prompt."""

    def __init__(self, extension: str, context: int, rows: Rows) -> None:
        module, _, name = extension.rpartition(".")
        kind = type("Worker", (getattr(importlib.import_module(module), name),), {})
        self.llm_engine = SimpleNamespace(
            model_config=SimpleNamespace(get_vocab_size=lambda: VOCABULARY, max_model_len=context)
        )
        self.asked: list[list[int]] = []
        self._rows = rows
        self._heads = [Head(), Head()]
        self._workers = []
        for rank, head in enumerate(self._heads):
            worker = kind()
            worker.rank, worker.get_model = rank, lambda head=head: head
            self._workers.append(worker)

    def collective_rpc(self, method: str, args: tuple[Any, ...] = ()) -> list[Any]:
        return [getattr(worker, method)(*args) for worker in self._workers]

    def generate(self, prompts: list[dict[str, list[int]]], asked: SimpleNamespace, use_tqdm: bool) -> None:
        assert not use_tqdm and asked.max_tokens == 1 and asked.prompt_logprobs == 1
        (prompt,) = prompts
        ids = prompt["prompt_token_ids"]
        assert len(ids) < self.llm_engine.model_config.max_model_len
        self.asked.append(ids)
        for rows in self._rows(len(ids)):
            self._heads[0].compute_logits(states(ids)[rows])


def states(ids: list[int]) -> torch.Tensor:
    """Return bfloat16 [tokens, vocabulary] that say of what token and where they are."""
    place = torch.arange(len(ids)).unsqueeze(-1)
    return (torch.tensor(ids).unsqueeze(-1) * 2 + place + torch.arange(VOCABULARY)).to(torch.bfloat16)


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


@pytest.mark.parametrize("rows", [rows_of_one_call, rows_in_chunks])
@pytest.mark.parametrize("context", [9, 2048])
@pytest.mark.usefixtures("told")
def test_the_logits_of_a_text_are_those_of_the_head(rows: Rows, context: int) -> None:
    engine = Engine("builder.proving.vllm_worker.Listener", context, rows)
    model = vllm.Model(engine)
    for ids in ([1, 2], [5, 3, 4, 1, 2, 6, 0, 1]):
        logits = model.read(ids)
        assert logits.dtype == np.float32
        assert (logits == states(ids)[:-1].float().numpy()).all()
    assert all(len(ids) < context for ids in engine.asked)


def test_a_worker_of_vllm_gets_no_attribute_that_it_may_have(told: dict[str, Any], tmp_path: Path) -> None:
    vllm.load(_artifact(tmp_path), {"max_model_len": 512})
    module, _, name = told["worker_extension_cls"].rpartition(".")
    listener = getattr(importlib.import_module(module), name)
    # vLLM refuses an extension with a name that its worker has; get_model and rank are its own
    assert {one for one in dir(listener) if not one.startswith("__")} == {"listen", "write_heard"}


def _artifact(folder: Path, longest: int = 8192) -> Path:
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": longest}), encoding="utf-8")
    return folder


def test_nothing_is_guessed_ahead_and_the_cache_is_as_it_will_be_served(
    told: dict[str, Any], tmp_path: Path
) -> None:
    arguments = {
        "max_model_len": 512,
        "kv_cache_dtype": "fp8_e4m3",
        "speculative_config": {"method": "draft_model", "model": "draft", "num_speculative_tokens": 3},
    }
    vllm.load(_artifact(tmp_path), arguments)
    assert "speculative_config" not in told
    assert told["kv_cache_dtype"] == "fp8_e4m3"


def test_texts_are_read_that_are_longer_than_what_is_served(told: dict[str, Any], tmp_path: Path) -> None:
    vllm.load(_artifact(tmp_path), {"max_model_len": 64})
    assert told["max_model_len"] == 2048
    vllm.load(_artifact(tmp_path, longest=1024), {"max_model_len": 64})
    assert told["max_model_len"] == 1024


def test_prompts_are_asked_at_once_to_see_what_a_batch_changes(told: dict[str, Any], tmp_path: Path) -> None:
    model = vllm.load(_artifact(tmp_path), {"max_model_len": 512})
    assert told["max_num_seqs"] > 1
    assert model.again([[1], [4, 2]]) == [{2: 2.0, 0: -9.0}, {3: 2.0, 0: -9.0}]
