"""NVIDIA's tensorrt_llm_bls inside Triton: the contract is theirs, the code ours.

It owns a request, so that text is decoded as it comes and a client's cancel reaches the engine.
"""

from __future__ import annotations

import itertools
import json
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

# A package of the same name may be installed: what stands beside this file comes first.
sys.path.insert(0, str(Path(__file__).parent))

from backends.engine import executor_tensors as tensors
from backends.engine.protocol import EngineError
from backends.engine.triton_model import Arrays, Stream, TritonModel, read
from backends.nvidia import streaming
from backends.nvidia.prompts import Prompts
from backends.nvidia.streaming import Texts
from backends.text.decoding import Vocabulary
from backends.text.encoding import Encoder

MOST_AT_ONCE = 1024
"""Threads, one for each request under way; what comes beyond waits for one."""


class TritonPythonModel:
    """Decoupled: `execute` only admits, a thread for each request answers."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the tokenizer; the engine's model may load later."""
        folder = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        told = json.loads(args["model_config"])["parameters"]
        encoder = Encoder(folder / "tokenizer", settings["bos_id"])
        end, pad = min(settings["end_ids"], default=-1), settings["pad_id"]
        self._prompts = Prompts(encoder, end, end if pad is None else pad)
        self._vocabulary = Vocabulary.load(folder / "tokenizer" / "tokenizer.json")
        self._engine = TritonModel(told["tensorrt_llm_model_name"]["string_value"])
        self._accumulates = told["accumulate_tokens"]["string_value"] == "true"
        self._prefix, self._numbers = uuid.uuid4().hex[:12], itertools.count()
        self._threads = ThreadPoolExecutor(MOST_AT_ONCE, "answers")

    def execute(self, requests: list[Any]) -> None:
        """Admit requests; each is answered, or refused by itself, through its own sender."""
        for request in requests:
            inputs = {one.name(): read(one) for one in request.inputs()}
            names = frozenset(request.requested_output_names())
            self._threads.submit(self._answer, inputs, names, request.get_response_sender())

    def finalize(self) -> None:
        """Let requests in flight finish."""
        self._threads.shutdown()

    def _answer(self, inputs: Arrays, names: frozenset[str], sender: Any) -> None:
        final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        try:
            self._stream(inputs, names, sender)
            sender.send(flags=final)
        except ValueError as error:
            refused = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            sender.send(pb_utils.InferenceResponse(error=refused), flags=final)
        except Exception as error:
            text = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
            sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(text)), flags=final)

    def _stream(self, inputs: Arrays, names: frozenset[str], sender: Any) -> None:
        prompt = {other: inputs[name] for name, other in streaming.PROMPT.items() if name in inputs}
        asked = streaming.asked(inputs, self._prompts.encode(prompt))
        # what says whose text it is comes in any case
        wanted = (*tensors.ANSWER, *sorted((names | streaming.WHOSE) - {"text_output"}))
        request = f"{self._prefix}-{next(self._numbers)}"
        answers = self._engine.ask(request, asked, wanted)
        texts = Texts(self._vocabulary, self._accumulates)
        ended = False
        for answer in answers:
            if not ended and sender.is_cancelled():
                ended = True
                self._end(request, answers)
            if not ended:
                sender.send(_response({**answer, "text_output": texts.read(answer)}, names))

    def _end(self, request: str, answers: Stream) -> None:
        if not answers.cancel():
            for _ in self._engine.ask(request, tensors.stopping(), tensors.ANSWER):
                pass


def _response(answer: Arrays, names: frozenset[str]) -> Any:
    found = [pb_utils.Tensor(name, array) for name, array in answer.items() if name in names]
    return pb_utils.InferenceResponse(output_tensors=found)
