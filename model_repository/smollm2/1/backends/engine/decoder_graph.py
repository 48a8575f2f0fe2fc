"""The graph of a decoder as onnxruntime-genai's model builder writes it, in a session of ONNX Runtime.

GroupQueryAttention appends to a KV cache that is input and output at once, [rows, KV heads, capacity, head
size], and learns each row's length from the attention mask
(https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupQueryAttention).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.engine.rows import Interrupted

Lengths = npt.NDArray[np.int64]

BFLOAT16 = 16
"""onnx.TensorProto.BFLOAT16: numpy has no such type."""

_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(bfloat16)": BFLOAT16,
}
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class Call:
    """What one run reads and writes: bound memory, which must live as long as its binding.

    tokens and places are [rows, tokens], logits [rows, tokens, vocabulary].
    """

    binding: Any
    tokens: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64] | None
    logits: npt.NDArray[Any]


class DecoderGraph:
    """Only one thread may use it, but for `interrupt`.

    `cache_names` are the pairs of tensors (past, present) that share a cache, `cache_type` is the type of its
    elements, which ONNX Runtime's bindings take; `heads` and `size` are its dimensions.
    """

    def __init__(self, folder: Path, *, provider: str, threads: int) -> None:
        import onnxruntime

        self._library = onnxruntime
        described = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]
        decoder = described["decoder"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # long enough to outlast the sampling between two steps; a thread that spins for longer takes the
        # processor from those who carry the tokens away
        options.add_session_config_entry("session.intra_op.spin_duration_us", "400")
        self._session = onnxruntime.InferenceSession(
            str(folder / decoder["filename"]), options, providers=[_PROVIDERS[provider]]
        )
        self._running = onnxruntime.RunOptions()
        self._takes = {tensor.name: tensor.type for tensor in self._session.get_inputs()}
        self._gives = {tensor.name: tensor.type for tensor in self._session.get_outputs()}
        self.cache_names = [
            (
                decoder["inputs"][f"past_{kind}_names"] % layer,
                decoder["outputs"][f"present_{kind}_names"] % layer,
            )
            for layer in range(decoder["num_hidden_layers"])
            for kind in ("key", "value")
        ]
        self.cache_type = _TYPES[self._takes[self.cache_names[0][0]]]
        self.heads, self.size = decoder["num_key_value_heads"], decoder["head_size"]
        self._vocabulary = described["vocab_size"]

    def close(self) -> None:
        """Free the model."""
        self._session = None

    def interrupt(self) -> None:
        """End the run of another thread, or the next one when there is none: it raises Interrupted."""
        self._running.terminate = True

    def call(self, rows: int, tokens: int) -> Call:
        """Return a binding of all but the caches, for so many new tokens in each of so many rows."""
        call = Call(
            self._session.io_binding(),
            np.zeros((rows, tokens), dtype=np.int64),
            np.zeros((rows, tokens), dtype=np.int64) if "position_ids" in self._takes else None,
            np.empty((rows, tokens, self._vocabulary), dtype=_TYPES[self._gives["logits"]]),
        )
        value = self._library.OrtValue.ortvalue_from_numpy
        call.binding.bind_ortvalue_output("logits", value(call.logits))
        return call

    def run(self, call: Call, before: Lengths) -> Lengths:
        """Append the call's tokens to rows of these lengths; return the lengths after it.

        Raises Interrupted, or what the library raises.
        """
        after = before + call.tokens.shape[1]
        mask = (np.arange(after.max()) < after[:, np.newaxis]).astype(np.int64)
        # a device is given copies, of what is there when it is bound
        call.binding.bind_cpu_input("input_ids", call.tokens)
        if call.places is not None:
            call.places[:] = before[:, np.newaxis] + np.arange(call.tokens.shape[1])
            call.binding.bind_cpu_input("position_ids", call.places)
        call.binding.bind_cpu_input("attention_mask", mask)
        try:
            self._session.run_with_iobinding(call.binding, self._running)
        except Exception as failure:
            if self._running.terminate:
                raise Interrupted from failure
            raise
        finally:
            self._running.terminate = False
        return after
