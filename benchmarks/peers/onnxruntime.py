"""Plain ONNX Runtime on the very artifact that we serve: the least loop that batches it.

Each prompt is read alone into its own rows of one KV buffer; then all rows step together, every row
at its own length (right-padded: the attention mask tells GroupQueryAttention each row's length).
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from peers import Generate, Generation, Settings, generation


def raw(settings: Settings) -> Generate:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        f"{settings['model']}/model.onnx", options, providers=["CPUExecutionProvider"]
    )
    # the graph leaves this dimension open
    config = json.loads((Path(settings["model"]) / "genai_config.json").read_text(encoding="utf-8"))
    return Loop(session, config["model"]["decoder"]["head_size"]).generate


class Loop:
    """A session and the buffers of its last shape.

    Every bound array is owned here and bound by its address: ONNX Runtime writes through the address
    for as long as the binding lives, whether or not numpy still has the array.
    """

    def __init__(self, session: Any, head_size: int) -> None:
        self._session = session
        self._head_size = head_size
        self._inputs = {tensor.name: tensor for tensor in session.get_inputs()}
        self._caches: dict[str, Any] = {}
        self._shape = (0, 0)

    def generate(self, prompts: list[list[int]], tokens: int) -> Generation:
        rows = len(prompts)
        self._make_room(rows, max(map(len, prompts)) + tokens)
        lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
        last = np.zeros((rows, 1), dtype=np.int64)
        last[0] = self._read(prompts[0], 0)
        first = time.perf_counter()
        for row in range(1, rows):
            last[row] = self._read(prompts[row], row)
        ids = [last[:, 0].tolist()]
        mask = np.zeros((rows, self._shape[1]), dtype=np.int64)
        mask[np.arange(mask.shape[1]) < lengths[:, None]] = 1
        binding = self._bind_caches(slice(0, rows))
        logits = np.zeros((rows, 1, self._vocabulary()), dtype=np.float32)
        self._bind_output(binding, logits)
        for _ in range(tokens - 1):
            mask[np.arange(rows), lengths] = 1
            lengths += 1
            self._step(binding, last, np.ascontiguousarray(mask[:, : lengths.max()]), lengths)
            last = logits[:, 0].argmax(-1)[:, None]
            ids.append(last[:, 0].tolist())
        return generation(first, [list(row) for row in zip(*ids, strict=True)])

    def _read(self, prompt: list[int], row: int) -> int:
        """Read one prompt into its row of the caches and return the first id after it."""
        binding = self._bind_caches(slice(row, row + 1))
        ids = np.array([prompt], dtype=np.int64)
        logits = np.zeros((1, len(prompt), self._vocabulary()), dtype=np.float32)
        self._bind_output(binding, logits)
        self._step(binding, ids, np.ones_like(ids), np.array([len(prompt)]))
        return int(logits[0, -1].argmax())

    def _step(self, binding: Any, ids: Any, mask: Any, lengths: Any) -> None:
        """Run once; `lengths` are those after this step."""
        self._bind_input(binding, "input_ids", ids)
        self._bind_input(binding, "attention_mask", mask)
        if "position_ids" in self._inputs:
            size = ids.shape[1]
            positions = (lengths[:, None] - size + np.arange(size)[None]).astype(np.int64)
            self._bind_input(binding, "position_ids", positions)
        self._session.run_with_iobinding(binding)

    def _make_room(self, rows: int, capacity: int) -> None:
        if self._shape[0] == rows and self._shape[1] >= capacity:
            return
        self._shape = (rows, capacity)
        self._caches = {}
        for name, tensor in self._inputs.items():
            if name.startswith("past_key_values."):
                kind = np.float16 if "float16" in tensor.type else np.float32
                shape = (rows, tensor.shape[1], capacity, self._head_size)
                self._caches[name] = np.zeros(shape, dtype=kind)

    def _bind_caches(self, rows: slice) -> Any:
        binding = self._session.io_binding()
        for name, cache in self._caches.items():
            part = cache[rows]
            self._bind_input(binding, name, part)
            self._bind_output(binding, part, name.replace("past_key_values", "present"))
        return binding

    @staticmethod
    def _bind_input(binding: Any, name: str, array: Any) -> None:
        binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    @staticmethod
    def _bind_output(binding: Any, array: Any, name: str = "logits") -> None:
        binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def _vocabulary(self) -> int:
        logits = next(tensor for tensor in self._session.get_outputs() if tensor.name == "logits")
        return int(logits.shape[2])
