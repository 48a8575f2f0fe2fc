"""vLLM itself as a witness: its own `LLM`, one token at a time, nothing of ours between."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builder.proving.golden import LIKELIEST
from builder.proving.prompted import Prompted

_SMALL = {"max_num_seqs": 16, "kv_cache_memory_bytes": 1 << 30, "max_model_len": 2048}
"""Golden prompts and answers are short, and come one by one or a few at once."""


def load(folder: Path, arguments: Mapping[str, Any]) -> Model:
    """Load the artifact folder; `arguments` are the planned fields of vllm.EngineArgs."""
    from vllm import LLM

    # what is guessed ahead changes no answer, and one token at a time leaves nothing to guess
    told = {name: value for name, value in arguments.items() if not name.startswith("spec")} | _SMALL
    told["max_model_len"] = min(arguments["max_model_len"], _SMALL["max_model_len"])
    tokenizer = str(folder.parent / "tokenizer")
    return Model(
        LLM(model=str(folder), tokenizer=tokenizer, max_logprobs=-1, logprobs_mode="raw_logits", **told)
    )


class Model(Prompted):
    """vLLM's `LLM`, asked for its logits as its head rounds them."""

    def __init__(self, llm: Any) -> None:
        super().__init__()
        self._llm = llm
        self._vocabulary = int(llm.llm_engine.model_config.get_vocab_size())

    def logits(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Return the logits [vocabulary] after these ids."""
        from vllm import SamplingParams

        asked = SamplingParams(
            temperature=0.0, max_tokens=1, logprobs=-1, flat_logprobs=True, ignore_eos=True, detokenize=False
        )
        (answer,) = self._llm.generate([{"prompt_token_ids": ids}], asked, use_tqdm=False)
        found = answer.outputs[0].logprobs
        logits = np.full(self._vocabulary, -np.inf, dtype=np.float32)
        logits[np.array(found.token_ids)] = found.logprobs
        return logits

    def read(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Return the logits [tokens - 1, vocabulary] after each of these ids but the last."""
        from vllm import SamplingParams

        asked = SamplingParams(
            temperature=0.0, max_tokens=1, prompt_logprobs=-1, flat_logprobs=True, detokenize=False
        )
        (answer,) = self._llm.generate([{"prompt_token_ids": ids}], asked, use_tqdm=False)
        found = answer.prompt_logprobs
        logits = np.full((len(ids) - 1, self._vocabulary), -np.inf, dtype=np.float32)
        # nothing is told of the first: nothing came before it
        for row, (start, end) in enumerate(zip(found.start_indices[1:], found.end_indices[1:], strict=True)):
            logits[row, found.token_ids[start:end]] = found.logprobs[start:end]
        return logits

    def again(self, prompts: list[list[int]]) -> list[dict[int, float]]:
        """Return the largest logits after each of the prompts, which vLLM reads in batches."""
        from vllm import SamplingParams

        asked = SamplingParams(
            temperature=0.0, max_tokens=1, logprobs=LIKELIEST, ignore_eos=True, detokenize=False
        )
        given = [{"prompt_token_ids": ids} for ids in prompts]
        answers = self._llm.generate(given, asked, use_tqdm=False)
        return [
            {token: one.logprob for token, one in answer.outputs[0].logprobs[0].items()} for answer in answers
        ]
