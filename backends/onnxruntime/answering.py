"""Responses: made of what a run gave, and sent before a batch ends where others can use the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import triton_python_backend_utils as pb_utils

from backends.onnxruntime import sessions
from backends.onnxruntime.spreading import Ending, Shares


def responses(requests: Sequence[Any], places: Sequence[int], run: Callable[[], Shares]) -> dict[int, Any]:
    """Return the responses to requests that run together; if that raises, they fail together.

    Whatever is raised becomes a response: a request that nobody answers keeps its client waiting.
    """
    try:
        shares = run()
        return {
            place: pb_utils.InferenceResponse(
                [_tensor(name, shares[name][turn]) for name in requests[place].requested_output_names()]
            )
            for turn, place in enumerate(places)
        }
    except Exception as error:
        said = sessions.problem(error)
        return {place: failure(said, pb_utils.TritonError.INTERNAL) for place in places}


def failure(text: str, code: Any) -> Any:
    """Return the response that says what went wrong."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, code))


class Answering:
    """Answers the parts of a batch: some while others run, the last ones after `execute` has returned."""

    def __init__(self) -> None:
        self._sender = ThreadPoolExecutor(1)

    def of_parts(
        self,
        requests: Sequence[Any],
        running: Mapping[Ending, Sequence[int]],
        ended: Iterable[set[Ending]],
    ) -> dict[int, Any]:
        """Return a batch's responses, None in the place of those that were sent or will be.

        Half of them are sent while the others run: whoever asks again once he was answered is there before
        the batch ends, and the next one is fuller. To send each on its own would cost more than it gains.

        Args:
            running: parts, each with the places of its requests.
            ended: yields parts as they end, until the next batch is welcome.
        """
        found: dict[int, Any] = {}
        sent: dict[int, None] = {}
        of_all = sum(map(len, running.values()))
        for parts in ended:
            for part in parts & running.keys():
                found |= responses(requests, running[part], part.result)
            if not sent and 2 * len(found) >= of_all:
                sent = _sent(requests, found)
        for part, places in running.items():
            if places[0] not in found:
                found |= dict.fromkeys(places)
                part.add_done_callback(self._later(requests, places))
        return found | sent

    def close(self) -> None:
        """Wait until everything is sent."""
        self._sender.shutdown()

    def _later(self, requests: Sequence[Any], places: Sequence[int]) -> Callable[[Ending], None]:
        def send(part: Ending) -> None:
            _sent(requests, responses(requests, places, part.result))

        def hand_over(part: Ending) -> None:
            # who runs the parts has more to do
            self._sender.submit(send, part)

        return hand_over


def _sent(requests: Sequence[Any], answers: Mapping[int, Any]) -> dict[int, None]:
    for place, answer in answers.items():
        sender = requests[place].get_response_sender()
        sender.send(answer, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    return dict.fromkeys(answers)


def _tensor(name: str, array: Any) -> Any:
    return pb_utils.Tensor(name, array.astype(object) if array.dtype.kind in "US" else array)
