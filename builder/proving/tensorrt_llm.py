"""TensorRT-LLM itself as a witness: its own `LLM`, one token at a time, nothing of ours between.

Written for its versions 1.0 to 1.4, and tried against a stand-in with their signatures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builder.proving.prompted import Prompted

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


class Model(Prompted):
    """TensorRT-LLM's `LLM`."""

    def __init__(self, llm: Any) -> None:
        super().__init__()
        self._llm = llm

    def logits(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Return the logits [vocabulary] after these ids."""
        from tensorrt_llm.llmapi import SamplingParams

        asked = SamplingParams(
            max_tokens=1, end_id=-1, ignore_eos=True, top_k=1, return_generation_logits=True, detokenize=False
        )
        (answer,) = self._llm.generate([{"prompt_token_ids": ids}], asked, use_tqdm=False)
        return _numbers(answer.outputs[0].generation_logits).reshape(-1)

    def read(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Return the logits [tokens - 1, vocabulary] after each of these ids but the last."""
        from tensorrt_llm.llmapi import SamplingParams

        asked = SamplingParams(
            max_tokens=1, end_id=-1, ignore_eos=True, top_k=1, return_context_logits=True, detokenize=False
        )
        (answer,) = self._llm.generate([{"prompt_token_ids": ids}], asked, use_tqdm=False)
        return _numbers(answer.context_logits)[:-1]


def _numbers(tensor: Any) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = tensor.float().cpu().numpy()
    return found
