"""A decoupled model with the tensors of backend tensorrtllm, which needs a GPU and NVIDIA's image.

It answers FIRST, FIRST + 1, ... and heeds what the backend heeds: request_output_len, end_id (which it does
not send), stop words (which it sends), `stop` for the request of the same id, and Triton's cancel. Some ids
of a prompt say what else happens: ECHO answers those behind it, FORGET empties the cache of adapters. What
requests held is in asked.jsonl.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

try:
    import triton_python_backend_utils as pb_utils
except ImportError:
    pb_utils = None  # a test reads the constants

FIRST = 40
ENDLESS, BROKEN, ECHO, FORGET = 7, 8, 9, 10
LOG_PROB = -0.25
SECONDS_A_TOKEN = 0.01
VOCABULARY = 300


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        self._config = json.loads(args["model_config"])
        self._file = Path(args["model_repository"]) / args["model_version"] / "asked.jsonl"
        self._running: dict[str, threading.Event] = {}
        self._cached: set[int] = set()
        self._lock = threading.Lock()

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            inputs = {one.name(): _array(one) for one in request.inputs()}
            with self._lock, self._file.open("a") as file:
                told = {name: [str(one.dtype), one.shape, _plain(one)] for name, one in inputs.items()}
                names = list(request.requested_output_names())
                file.write(json.dumps({"id": request.request_id(), "inputs": told, "outputs": names}) + "\n")
            threading.Thread(target=self._answer, args=(request, inputs), daemon=True).start()

    def _answer(self, request: Any, inputs: dict[str, Any]) -> None:
        sender = request.get_response_sender()
        try:
            self._answer_to(request, inputs, sender)
        except ValueError as error:
            failed = pb_utils.TritonError(str(error))
            sender.send(pb_utils.InferenceResponse(error=failed))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _answer_to(self, request: Any, inputs: dict[str, Any], sender: Any) -> None:
        name = request.request_id()
        if "stop" in inputs and inputs["stop"].any():
            if name in self._running:
                self._running[name].set()
            return
        prompt = inputs["input_ids"].reshape(-1)
        if BROKEN in prompt:
            raise ValueError("Executor failed process requestId 1 due to the following error: out of luck")
        if "lora_task_id" in inputs:
            if FORGET in prompt and "lora_weights" not in inputs:
                self._cached.clear()
            task = int(inputs["lora_task_id"].reshape(-1)[0])
            if "lora_config" in inputs:
                self._cached.add(task)
            if task not in self._cached:
                raise ValueError(
                    f"LoRA task {task} not found in cache. Please send LoRA weights with request"
                )
        stopped = self._running[name] = threading.Event()
        try:
            self._generate(inputs, prompt, request, sender, stopped)
        finally:
            del self._running[name]

    def _generate(self, inputs: Any, prompt: Any, request: Any, sender: Any, stopped: Any) -> None:
        most = int(inputs["request_output_len"].reshape(-1)[0])
        end = int(inputs["end_id"].reshape(-1)[0]) if "end_id" in inputs else -1
        stops = set(inputs["stop_words_list"][0, 0].tolist()) if "stop_words_list" in inputs else set()
        outputs = frozenset(request.requested_output_names())
        behind = prompt[prompt.tolist().index(ECHO) + 1 :].tolist() if ECHO in prompt else None
        for made, token in enumerate(behind or (FIRST + place % 100 for place in range(most))):
            if token == end or stopped.is_set() or sender.is_cancelled():
                return
            sender.send(_response(token, made + 1, prompt, outputs))
            if token in stops:
                return
            if ENDLESS in prompt:
                time.sleep(SECONDS_A_TOKEN)


def _response(token: int, made: int, prompt: Any, outputs: frozenset[str]) -> Any:
    logits = np.zeros((1, len(prompt), VOCABULARY), dtype=np.float32)
    logits[0, :, 5] = 1.0
    one = np.ones((1, 1))
    found = {
        "output_ids": np.array([[[token]]], dtype=np.int32),
        "sequence_length": one.astype(np.int32),
        "cum_log_probs": (one * made * LOG_PROB).astype(np.float32),
        # of all tokens so far, as the executor tells it
        "output_log_probs": np.full((1, 1, made), LOG_PROB, dtype=np.float32),
        "context_logits": logits,
        "generation_logits": np.zeros((1, 1, 1, VOCABULARY), dtype=np.float32),
        "context_phase_params": one.astype(np.uint8),
        "acceptance_rate": one.astype(np.float32),
    }
    for name in ("arrival_time_ns", "first_scheduled_time_ns", "first_token_time_ns", "last_token_time_ns"):
        found[name] = one.astype(np.int64)
    tensors = [found.get(name, one.astype(np.int32)) for name in outputs]
    return pb_utils.InferenceResponse(list(map(pb_utils.Tensor, outputs, tensors)))


def _array(tensor: Any) -> Any:
    """Return the numbers of a tensor; numpy has no bfloat16, so those of one are float32."""
    try:
        return tensor.as_numpy()
    except pb_utils.TritonModelException:
        import torch

        numbers = torch.from_dlpack(tensor.to_dlpack())
        assert numbers.dtype == torch.bfloat16
        return numbers.float().numpy()


def _plain(array: Any) -> Any:
    values = array.reshape(-1).tolist()
    return [value.decode() if isinstance(value, bytes) else value for value in values]
