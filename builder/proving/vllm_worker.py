"""What vLLM's workers are given beside their own methods: the logits of prompts, written to files.

vLLM hands what it expects out as Python numbers, one object for each word of the vocabulary and each token:
that takes hundreds of times as long as reading the text. `worker_extension_cls` of vllm.EngineArgs is its
own way in for others.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Listener:
    """Methods for `LLM.collective_rpc`; a worker of vLLM inherits them."""

    get_model: Callable[[], Any]
    rank: int
    _heard: list[Any]

    def listen(self) -> None:
        """Keep all logits [tokens, vocabulary] of more than one token that the head gives from now on.

        Those of one token are what the next is chosen by; a prompt has more.
        """
        self._heard = []
        model = self.get_model()
        head = model.compute_logits

        def heard(*given: Any, **named: Any) -> Any:
            logits = head(*given, **named)
            # where several GPUs share the head only one of them may have the whole
            if logits is not None and len(logits) > 1:
                self._heard.append(logits.float().cpu())
            return logits

        model.compute_logits = heard

    def write_heard(self, folder: str) -> str | None:
        """Write to a file of the folder what was heard since the last call, float32 [tokens, vocabulary].

        Returns its path, or None where nothing was heard.
        """
        import torch

        if not self._heard:
            return None
        path = Path(folder) / f"{self.rank}.npy"
        np.save(path, torch.cat(self._heard).numpy())
        self._heard.clear()
        return str(path)
