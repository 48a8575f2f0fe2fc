"""TensorRT-LLM itself as a witness: its own `LLM`, one token at a time, nothing of ours between.

Written for its versions 1.0 to 1.4, and tried against a stand-in with their signatures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_TOKENS = 2048
"""Golden prompts and answers are short, and come one by one."""


def load(folder: Path, arguments: Mapping[str, Any]) -> Model:
    """Load the artifact folder; `arguments` are the planned ones of tensorrt_llm.llmapi.LLM."""
    from tensorrt_llm.llmapi import LLM, TorchLlmArgs

    told = {
        **arguments,
        "max_batch_size": 1,
        "max_seq_len": min(arguments["max_seq_len"], _TOKENS),
        "kv_cache_config": {**arguments["kv_cache_config"], "max_tokens": 2 * _TOKENS},
        "cuda_graph_config": None,
    }
    if "gather_generation_logits" in TorchLlmArgs.model_fields:
        # later versions gather them for whoever asks
        told["gather_generation_logits"] = True
    return Model(LLM(model=str(folder), tokenizer=str(folder.parent / "tokenizer"), **told))


class Model:
    """One sequence at a time; `start` begins a new one."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm
        self._ids: list[int] = []

    def start(self, ids: list[int], tokens: int) -> npt.NDArray[np.float32]:
        """Return the logits [vocabulary] after the prompt."""
        self._ids = list(ids)
        return self._logits()

    def append(self, token: int) -> npt.NDArray[np.float32]:
        """Return the logits [vocabulary] after one more token; what came before is in the prefix cache."""
        self._ids.append(token)
        return self._logits()

    def _logits(self) -> npt.NDArray[np.float32]:
        from tensorrt_llm.llmapi import SamplingParams

        asked = SamplingParams(
            max_tokens=1, end_id=-1, ignore_eos=True, top_k=1, return_generation_logits=True, detokenize=False
        )
        (answer,) = self._llm.generate([{"prompt_token_ids": self._ids}], asked, use_tqdm=False)
        found = answer.outputs[0].generation_logits
        logits: npt.NDArray[np.float32] = found.float().cpu().numpy().reshape(-1)
        return logits
