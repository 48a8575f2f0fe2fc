"""vLLM 0.22 as its users have it without a server: LLM.generate, and the LLMEngine that this drives."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm.libraries import Arrived

_TRIES = 50


def load(folder: Path, arguments: Mapping[str, Any]) -> Vllm:
    """Load the repository's checkpoint with the arguments that the repository gives its engine."""
    from vllm import LLM

    return Vllm(LLM(model=str(folder / "model"), tokenizer=str(folder / "tokenizer"), **arguments))


class Vllm:
    """See Library."""

    def __init__(self, llm: Any) -> None:
        self._llm, self._engine = llm, llm.llm_engine

    def generate(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
        asked = [{"prompt_token_ids": list(ids)} for ids in prompts]
        answers = self._llm.generate(asked, self._sampling(tokens), use_tqdm=False)
        return [list(answer.outputs[0].token_ids) for answer in answers]

    def add(self, key: str, ids: Sequence[int], tokens: int) -> None:
        from vllm.sampling_params import RequestOutputKind

        asked = self._sampling(tokens, output_kind=RequestOutputKind.DELTA)
        self._engine.add_request(key, {"prompt_token_ids": list(ids)}, asked)

    def step(self) -> Arrived:
        return [
            (output.request_id, list(output.outputs[0].token_ids), output.finished)
            for output in self._engine.step()
        ]

    def abort(self, keys: Sequence[str]) -> None:
        self._engine.abort_request(list(keys))
        while self._engine.has_unfinished_requests():
            self._engine.step()

    def forget(self) -> None:
        # the blocks of what has just ended are in use a moment longer
        for _ in range(_TRIES):
            if self._engine.reset_prefix_cache():
                return
            time.sleep(0.1)
        raise RuntimeError("vLLM did not empty its prefix cache: blocks were still in use")

    def close(self) -> None:
        self._engine.engine_core.shutdown()

    def _sampling(self, tokens: int, **more: Any) -> Any:
        from vllm import SamplingParams

        return SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True, detokenize=False, **more)
