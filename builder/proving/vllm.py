"""vLLM itself as a witness: its own `LLM`, one token at a time, nothing of ours between."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builder import source
from builder.proving.golden import LIKELIEST
from builder.proving.prompted import Prompted
from builder.proving.vllm_worker import Listener

_SMALL = {
    "max_num_seqs": 16,
    "kv_cache_memory_bytes": 1 << 30,
    "max_model_len": 2048,
    # what must be free at the start, and no more: the source may be on the same GPU
    "gpu_memory_utilization": 0.01,
}
"""Golden prompts and answers are short, and come one by one or a few at once."""


def load(folder: Path, arguments: Mapping[str, Any]) -> Model:
    """Load the artifact folder; `arguments` are the planned fields of vllm.EngineArgs."""
    from vllm import LLM

    # what is guessed ahead changes no answer, and one token at a time leaves nothing to guess
    told = {name: value for name, value in arguments.items() if not name.startswith("spec")} | _SMALL
    told["max_model_len"] = min(_context(folder) or arguments["max_model_len"], _SMALL["max_model_len"])
    tokenizer = str(folder.parent / "tokenizer")
    return Model(
        LLM(
            model=str(folder),
            tokenizer=tokenizer,
            max_logprobs=-1,
            logprobs_mode="raw_logits",
            worker_extension_cls=f"{Listener.__module__}.{Listener.__qualname__}",
            **told,
        )
    )


def _context(folder: Path) -> int | None:
    """Return the tokens the model can read, which may be more than it will be asked to."""
    config = source.read_json(folder / "config.json")
    longest: int | None = config.get("text_config", config).get("max_position_embeddings")
    return longest


class Model(Prompted):
    """vLLM's `LLM`, asked for its logits as its head rounds them."""

    def __init__(self, llm: Any) -> None:
        super().__init__()
        self._llm = llm
        self._vocabulary = int(llm.llm_engine.model_config.get_vocab_size())
        self._listens = False

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

        self._listen()
        asked = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=1, detokenize=False)
        self._llm.generate([{"prompt_token_ids": self._longer(ids)}], asked, use_tqdm=False)
        with tempfile.TemporaryDirectory() as folder:
            (path, *_) = filter(None, self._llm.collective_rpc("write_heard", args=(folder,)))
            logits: npt.NDArray[np.float32] = np.load(path)
        return logits[: len(ids) - 1]

    def _longer(self, ids: list[int]) -> list[int]:
        """Return one id more where it fits: vLLM may leave out what follows the last, and one row of two."""
        room = self._llm.llm_engine.model_config.max_model_len - len(ids)
        return [*ids, ids[-1]] if room > 1 else ids

    def _listen(self) -> None:
        if not self._listens:
            self._llm.collective_rpc("listen")
            self._listens = True

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
