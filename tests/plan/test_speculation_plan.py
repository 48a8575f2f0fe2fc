"""Tokens guessed ahead: what vLLM is told, what a draft takes beside the model, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_encoder
import tiny_quantised
from click.testing import CliRunner
from planning import planned, planned_from
from safetensors.numpy import load_file, save_file

from builder.cli import main
from builder.errors import BuilderError
from builder.planning import memory
from builder.source import read_json

VLLM = "--target vllm --gpu h200 --max-context 64"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny.checkpoint(tmp_path / "model")


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    """Return a model with the same tokens, and half the KV heads of a larger one."""
    return tiny.checkpoint(tmp_path / "draft")


def test_passages_of_the_text_itself() -> None:
    found = planned("llama-8b", f"{VLLM} --speculate 3")
    assert found.engine_arguments["speculative_config"] == {
        "method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_min": 2, "prompt_lookup_max": 4,
    }  # fmt: skip
    assert found.memory == planned("llama-8b", VLLM).memory
    asked = planned("llama-8b", f"{VLLM} --ngram 3-6").engine_arguments["speculative_config"]
    assert (asked["prompt_lookup_min"], asked["prompt_lookup_max"], asked["num_speculative_tokens"]) == (
        3,
        6,
        5,
    )


def test_a_draft_is_counted_with_its_weights_and_its_cache(model: Path, draft: Path) -> None:
    alone = planned_from(model, f"{VLLM} --concurrency 4")
    found = planned_from(model, f"{VLLM} --concurrency 4 --draft {draft} --speculate 2")
    sizes = alone.dimensions
    own = 2 * sizes.parameters
    assert (alone.memory.weights, found.memory.weights) == (own, 2 * own)
    per_token = memory.cache_bytes_per_token(sizes, 2)  # type: ignore[arg-type]
    assert found.memory.cache_per_token == 2 * per_token == 2 * alone.memory.cache_per_token
    assert found.memory.tokens == alone.memory.tokens == 4 * 64
    told = found.engine_arguments
    assert told["speculative_config"] == {
        "method": "draft_model",
        "model": "draft",
        "num_speculative_tokens": 2,
    }
    assert told["kv_cache_memory_bytes"] == found.memory.cache
    # a draft takes one more token of each sequence in a step
    assert told["max_num_batched_tokens"] == alone.engine_arguments["max_num_batched_tokens"] + 4


def test_a_draft_shares_the_cache_s_type(model: Path, draft: Path) -> None:
    whole, half = (
        planned_from(model, f"{VLLM} --draft {draft} {more}").memory for more in ("", "--kv-cache fp8")
    )
    assert whole.cache_per_token == 2 * half.cache_per_token


def test_a_quantised_draft_is_counted_as_it_lies(tmp_path: Path) -> None:
    tiny_quantised.checkpoint(tmp_path / "model", "gptq")
    tiny_quantised.checkpoint(tmp_path / "draft", "awq")
    alone = [planned_from(tmp_path / name, VLLM).memory.weights for name in ("model", "draft")]
    found = planned_from(tmp_path / "model", f"{VLLM} --draft {tmp_path / 'draft'}")
    assert found.memory.weights == sum(alone)


def test_the_plan_prints_and_keeps_it(model: Path, draft: Path) -> None:
    words = ["plan", "tiny", "--checkpoint", str(model), *VLLM.split()]
    printed = CliRunner().invoke(main, [*words, "--draft", str(draft)]).output
    assert f"guesses    5 tokens a step, by {draft} (llama, " in printed
    assert "the draft's too" in printed
    printed = CliRunner().invoke(main, [*words, "--ngram", "1-3"]).output
    assert "guesses    5 tokens a step, by passages of 1 to 3 tokens of its own text" in printed
    kept = planned_from(model, f"{VLLM} --draft {draft}").to_json()["speculation"]
    assert (kept["tokens"], kept["draft"]["model_type"]) == (5, "llama")
    assert "speculation" not in planned_from(model, VLLM).to_json()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--speculate 4 --target onnx --gpu h200", ["target onnx guesses no tokens ahead", "--target vllm"]),
        ("--ngram 2-4", ["target onnx guesses no tokens ahead"]),
        ("--speculate 4 --target llmapi --gpu h200", ["target llmapi guesses no tokens ahead"]),
        (f"{VLLM} --speculate 0", ["--speculate 0", "1 to 128"]),
        (f"{VLLM} --speculate 129", ["--speculate 129", "1 to 128"]),
        (f"{VLLM} --ngram 4-2", ["--ngram 4-2", "such as 2-4"]),
        (f"{VLLM} --ngram four", ["--ngram four"]),
        (
            f"{VLLM} --speculate 2 --set 'engine.speculative_config={{}}'",
            ["engine.speculative_config", "one of"],
        ),
        (f"{VLLM} --speculate 2 --set engine.spec_tokens=3", ["engine.spec_tokens", "one of them"]),
    ],
)
def test_what_does_not_combine_is_refused(line: str, words: list[str]) -> None:
    with pytest.raises(BuilderError) as refused:
        planned("smollm2", line)
    assert all(word in str(refused.value) for word in words), refused.value


def test_set_alone_still_says_it_all() -> None:
    found = planned("llama-8b", f'{VLLM} --set \'engine.speculative_config={{"method": "suffix"}}\'')
    assert found.engine_arguments["speculative_config"] == {"method": "suffix"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("--ngram 2-4", ["--draft and --ngram"]),
        ("--pp 2", ["--draft with --pp 2", "--pp 1"]),
        ("--target onnx", ["target onnx guesses no tokens ahead"]),
    ],
)
def test_a_draft_and_what_it_does_not_go_with(more: str, words: list[str], model: Path, draft: Path) -> None:
    with pytest.raises(BuilderError) as refused:
        planned_from(model, f"{VLLM} --draft {draft} {more}")
    assert all(word in str(refused.value) for word in words), refused.value


def test_a_draft_that_cannot_be_divided_as_the_model_is(tmp_path: Path, draft: Path) -> None:
    model = tmp_path / "model"
    tiny_quantised.plain(model, tiny_quantised.checkpoint(tmp_path / "like", "fp8-static"), tmp_path / "like")
    assert planned_from(model, f"{VLLM} --tp 4").split.tensor == 4
    with pytest.raises(BuilderError, match=r"of --draft .*, --tp 4 does not divide the 2 attention heads"):
        planned_from(model, f"{VLLM} --tp 4 --draft {draft}")


def test_a_draft_has_as_many_tokens_as_the_model(model: Path, draft: Path) -> None:
    config = read_json(draft / "config.json")
    (draft / "config.json").write_text(json.dumps({**config, "vocab_size": 24}))
    weights = load_file(draft / "model.safetensors")
    weights["model.embed_tokens.weight"] = np.zeros((24, 8), np.float32)
    save_file(weights, draft / "model.safetensors")
    with pytest.raises(BuilderError) as refused:
        planned_from(model, f"{VLLM} --draft {draft}")
    assert "has 24 tokens, tiny 16" in str(refused.value)


def test_a_draft_has_the_model_s_own_tokens(model: Path, tmp_path: Path) -> None:
    other = tiny.checkpoint(tmp_path / "other", words="one two drei vier")
    with pytest.raises(BuilderError) as refused:
        planned_from(model, f"{VLLM} --draft {other}")
    assert "id 5 is 'drei' there and 'three' here (2 ids differ)" in str(refused.value)


def test_a_draft_that_is_not_there_is_named_by_its_own_option(model: Path) -> None:
    with pytest.raises(BuilderError) as refused:
        planned_from(model, f"{VLLM} --draft ./gone")
    assert refused.value.found.startswith("--draft: ./gone does not exist")
    assert refused.value.remedy == "check the path given with --draft"


def test_a_draft_generates_text(model: Path, tmp_path: Path) -> None:
    encoder = tiny_encoder.checkpoint(tmp_path / "encoder", "embedding")
    with pytest.raises(BuilderError, match="does not generate text"):
        planned_from(model, f"{VLLM} --draft {encoder}")
