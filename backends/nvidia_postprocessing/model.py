"""NVIDIA's postprocessing inside Triton: the contract is theirs, the code ours.

It knows nothing of the answers before: no space is lost, but a character that lies in two of them is.
tensorrt_llm_bls loses neither.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

# A package of the same name may be installed: what stands beside this file comes first.
sys.path.insert(0, str(Path(__file__).parent))

from backends.text.decoding import Vocabulary, decode


class TritonPythonModel:
    """TOKENS_BATCH INT32 [b,beams,n] and SEQUENCE_LENGTH INT32 [b,beams] -> OUTPUT STRING [b * beams]."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the bytes of every id."""
        folder = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        self._bos = settings["bos_id"]
        self._whole = Vocabulary.load(folder / "tokenizer" / "tokenizer.json")
        self._part = replace(self._whole, strips_first_space=False)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response per request."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        tokens, lengths = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            for name in ("TOKENS_BATCH", "SEQUENCE_LENGTH")
        )
        rows = tokens.reshape(-1, tokens.shape[-1])
        pairs = zip(rows, lengths.reshape(-1), strict=True)
        found = [self._text(row[: int(length)].tolist()).encode() for row, length in pairs]
        # without a dimension for the batch, as NVIDIA's clients read it
        text = np.array(found, dtype=np.object_)
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("OUTPUT", text)])

    def _text(self, ids: list[int]) -> str:
        """Return the text of ids; only where it begins is its first space the tokenizer's own."""
        begins = bool(ids) and ids[0] == self._bos
        return decode(self._whole if begins else self._part, ids)
