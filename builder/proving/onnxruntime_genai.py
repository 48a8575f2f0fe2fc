"""The raw onnxruntime-genai artifact as a witness: logits in, nothing of ours between."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builder.proving.golden import likeliest


def load(folder: Path, arguments: Mapping[str, Any]) -> Model:
    """Load the artifact folder on the planned `provider`, cpu or cuda."""
    import onnxruntime_genai

    provider = arguments["provider"]

    config = onnxruntime_genai.Config(str(folder))
    config.clear_providers()
    if provider != "cpu":
        config.append_provider(provider)
    return Model(onnxruntime_genai, onnxruntime_genai.Model(config))


class Model:
    """One sequence at a time; `start` begins a new one."""

    def __init__(self, library: Any, model: Any) -> None:
        self._library = library
        self._model = model
        self._generator: Any = None

    def start(self, ids: list[int], tokens: int) -> npt.NDArray[np.float32]:
        """Return the logits [vocabulary] after the prompt; room is made for `tokens` more."""
        parameters = self._library.GeneratorParams(self._model)
        parameters.set_search_options(max_length=len(ids) + tokens, do_sample=False)
        self._generator = self._library.Generator(self._model, parameters)
        self._generator.append_tokens(np.array([ids], dtype=np.int32))
        return self._logits()

    def append(self, token: int) -> npt.NDArray[np.float32]:
        """Return the logits [vocabulary] after one more token."""
        self._generator.append_tokens(np.array([[token]], dtype=np.int32))
        return self._logits()

    def again(self, prompts: list[list[int]]) -> list[dict[int, float]]:
        """Return the largest logits after each of the prompts, each read in one piece."""
        return [likeliest(self.start(ids, 1)) for ids in prompts]

    def read(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Return the logits [tokens - 1, vocabulary] after each of these ids but the last."""
        self.start(ids, 1)
        found = np.asarray(self._generator.get_output("logits"), dtype=np.float32)
        return found.reshape(len(ids), -1)[:-1]

    def _logits(self) -> npt.NDArray[np.float32]:
        return np.array(self._generator.get_logits(), dtype=np.float32).reshape(-1)
