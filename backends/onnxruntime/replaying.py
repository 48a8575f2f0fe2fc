"""Lone requests on a GPU, replayed as CUDA graphs: one launch instead of one for each node.

For a small request most of the time goes into launching the kernels, not into running them. The kernels for
one set of input shapes are captured when it comes for the second time; whoever comes with these shapes then
has his numbers copied to where the captured kernels read, and all of them launched at once. What is computed
is the same. See "Using CUDA Graphs" in ONNX Runtime's documentation of its CUDA provider.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.onnxruntime import sessions
from backends.onnxruntime.options import Options
from backends.onnxruntime.values import Refused

_CUDA, _OPTION, _NUMBER = "CUDAExecutionProvider", "enable_cuda_graph", "gpu_graph_id"
_NONE = "-1"
_TIMES = 2
"""How often shapes have to come before they are worth a capture, which takes some runs itself."""
_MOST = 128
"""Captured graphs of a session: each keeps some memory of the GPU until the session ends."""

Feeds = Mapping[str, NDArray[Any]]


def applies(told: Options) -> bool:
    """Say whether a model may be replayed: on CUDA alone, where nothing of memory or of graphs is told."""
    names = [name for name, _ in told.providers]
    return names[0] == _CUDA and _OPTION not in told.providers[0][1] and not told.run_entries


class Replaying:
    """A session that captures what comes alone and again; it is used by one thread."""

    def __init__(self, file: Path, told: Options) -> None:
        """Load the graph.

        Raises:
            Refused: it cannot be loaded so: parts of it run on the processor, such as labels, which are text.
        """
        name, options = told.providers[0]
        captures = replace(told, providers=((name, {**options, _OPTION: "1"}), *told.providers[1:]))
        self._device = int(options.get("device_id", 0))
        self.session = sessions.load(file, captures)
        self.plain = _run_options(_NONE)
        self._seen: Counter[Any] = Counter()
        self._captured: dict[Any, _Captured] = {}

    def run(self, names: Sequence[str], feeds: Feeds) -> list[NDArray[Any]]:
        """Return the outputs, of a graph that is captured where the shapes have one or get one."""
        key = (tuple(names), tuple((name, one.shape) for name, one in sorted(feeds.items())))
        if key not in self._captured:
            found: list[NDArray[Any]] = self.session.run(names, feeds, self.plain)
            self._seen[key] += 1
            if self._seen[key] >= _TIMES and len(self._captured) < _MOST:
                number = str(len(self._captured) + 1)
                shapes = dict(zip(names, found, strict=True))
                self._captured[key] = _Captured(self.session, number, feeds, shapes, self._device)
                del self._seen[key]
            return found
        return self._captured[key].run(feeds)


def load(file: Path, told: Options) -> Replaying | None:
    """Return a session that replays, None where the model may not or cannot."""
    if not applies(told):
        return None
    try:
        return Replaying(file, told)
    except Refused:
        # what is truly wrong shows when it is loaded as usual
        return None


class _Captured:
    """The kernels for one set of shapes, with the memory that they read and write."""

    def __init__(self, session: Any, number: str, feeds: Feeds, outputs: Feeds, device: int) -> None:
        import onnxruntime

        self._session, self._options = session, _run_options(number)
        self._binding = session.io_binding()
        on_gpu: Callable[..., Any] = onnxruntime.OrtValue.ortvalue_from_numpy
        self._held = {name: array.copy() for name, array in feeds.items()}
        self._inputs = {name: on_gpu(array, "cuda", device) for name, array in feeds.items()}
        self._outputs = [on_gpu(array, "cuda", device) for array in outputs.values()]
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in zip(outputs, self._outputs, strict=True):
            self._binding.bind_ortvalue_output(name, value)
        self._session.run_with_iobinding(self._binding, self._options)

    def run(self, feeds: Feeds) -> list[NDArray[Any]]:
        for name, array in feeds.items():
            # most are sizes, which the shapes decide already
            if not np.array_equal(array, self._held[name]):
                self._inputs[name].update_inplace(array)
                self._held[name] = array.copy()
        self._session.run_with_iobinding(self._binding, self._options)
        return [value.numpy() for value in self._outputs]


def _run_options(number: str) -> Any:
    import onnxruntime

    found = onnxruntime.RunOptions()
    found.add_run_config_entry(_NUMBER, number)
    return found
