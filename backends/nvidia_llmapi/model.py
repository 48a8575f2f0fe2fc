"""NVIDIA's llmapi model inside Triton: config.pbtxt, model.yaml and the tensors are theirs, the code ours.

It is our front, asked in NVIDIA's words: the engine is told by model.yaml.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import triton_python_backend_utils as pb_utils

# A package of the same name may be installed: what stands beside this file comes first.
sys.path.insert(0, str(Path(__file__).parent))

from backends.engine import model_yaml
from backends.engine.protocol import EngineError, InvalidRequest
from backends.front.answer import Answer, send_error
from backends.front.model import TritonPythonModel as Front
from backends.nvidia import llmapi


class TritonPythonModel(Front):
    """text_input STRING [1] and sampling_param_* -> text_output STRING [1], in parts where it streams."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load tokenizer and engine; raise EngineError where model.yaml contradicts config.pbtxt."""
        folder = Path(args["model_repository"]) / args["model_version"]
        config = json.loads(args["model_config"])
        decoupled = bool(config.get("model_transaction_policy", {}).get("decoupled", False))
        if not decoupled or not model_yaml.is_decoupled(folder):
            raise EngineError(
                f"decoupled is {str(decoupled).lower()} in config.pbtxt and "
                f"{str(model_yaml.is_decoupled(folder)).lower()} in {model_yaml.FILE}: "
                "true in both is expected, as `builder build` writes it"
            )
        self._by_id: WeakValueDictionary[str, Answer] = WeakValueDictionary()
        super().initialize(args)

    def execute(self, requests: list[Any]) -> None:
        """Admit requests; one that says `stop` ends that of its own id."""
        super().execute([request for request in requests if not self._stopped(request)])

    def _stopped(self, request: Any) -> bool:
        """End what a request tells to, and say whether it did."""
        try:
            if not llmapi.is_stop(super()._tensors(request)):
                return False
            self._stop(request.request_id())
        except Exception as error:
            send_error(pb_utils, request.get_response_sender(), error)
            return True
        request.get_response_sender().send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return True

    def _stop(self, name: str) -> None:
        if not name:
            raise InvalidRequest("stop ends the request of the same id, and this one has none")
        answer = self._by_id.get(name)
        if answer is not None:
            self._engine.abort(answer.name)

    def _tensors(self, request: Any) -> dict[str, Any]:
        return llmapi.tensors(super()._tensors(request))

    def _outputs(self, request: Any, number: int) -> Any:
        names = request.requested_output_names()
        return llmapi.Outputs(pb_utils.Tensor, names, super()._tensors(request))

    def _admitted(self, request: Any, answer: Answer) -> None:
        if request.request_id():
            self._by_id[request.request_id()] = answer
