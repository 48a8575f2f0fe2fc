"""Triton's `onnxruntime` backend as a Python-based one: it serves the folders of NVIDIA's unmodified.

NVIDIA's containers have the C++ backend; this one is for servers that have only the Python backend. What
a config may say is read in options.py and tensors.py, how requests become a batch in batch.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).resolve().parent))

from backends.onnxruntime import (
    answering,
    batch,
    completion,
    options,
    replaying,
    sessions,
    spreading,
    tensors,
)

Given = Mapping[int, Mapping[str, Any]]


class TritonPythonModel:
    """One instance of one model."""

    @staticmethod
    def auto_complete_config(found: Any) -> Any:
        """Add to a config what it lacks; Triton calls it only where it may."""
        if not completion.is_whole(found.as_dict()):
            completion.complete(found, completion.read(_folder_of_the_model(), found.as_dict()))
        return found

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the graph; raise with the backend's own words where the config and the graph disagree."""
        config = json.loads(args["model_config"])
        told = options.read(config, args["model_instance_kind"], args["model_instance_device_id"])
        file = sessions.path(args["model_repository"], args["model_version"], config)
        is_spread = spreading.applies(told, batch.layout(config))
        told = spreading.calm(told) if is_spread else told
        self.replaying = replaying.load(file, told)
        self.session = self.replaying.session if self.replaying else sessions.load(file, told)
        self.run_options = self.replaying.plain if self.replaying else sessions.run_options(told)
        graph = tensors.graph(self.session)
        tensors.require_same(config, graph)
        scalars = [tensor.name for tensor in (*graph.inputs, *graph.defaults) if not tensor.shape]
        self.layout = batch.layout(config, scalars)
        self.spread = spreading.Spread(file, told) if is_spread else None
        self.answering = answering.Answering()

    def finalize(self) -> None:
        """Answer what is being run."""
        if self.spread:
            self.spread.close()
        self.answering.close()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Run the requests as one batch; one that cannot be read fails alone, a run all that are in it."""
        given, responses = self._read(requests)
        for together in [given] if self.layout.batches else [{place: one} for place, one in given.items()]:
            if together:
                responses |= self._run(requests, together)
        return [responses[place] for place in range(len(requests))]

    def _read(self, requests: Sequence[Any]) -> tuple[dict[int, Any], dict[int, Any]]:
        """Return the arrays of the requests that can be read, and the refusals of the others."""
        given, refused = {}, {}
        for place, request in enumerate(requests):
            try:
                given[place] = {
                    tensor.name(): sessions.fed(tensor.name(), tensor.as_numpy())
                    for tensor in request.inputs()
                }
            except ValueError as error:
                refused[place] = answering.failure(str(error), pb_utils.TritonError.INVALID_ARG)
        return given, refused

    def _run(self, requests: Sequence[Any], given: Given) -> dict[int, Any]:
        names = sorted(set().union(*(requests[place].requested_output_names() for place in given)))
        arrays = list(given.values())
        if self.spread and (parts := self.spread.parts(arrays, self.layout)):
            places = list(given)
            running = {
                ending: [places[turn] for turn in part]
                for ending, part in self.spread.start(names, parts, arrays, self.layout).items()
            }
            return self.answering.of_parts(requests, running, self.spread.ended())
        return answering.responses(requests, list(given), lambda: self._shares(names, arrays))

    def _shares(self, names: Sequence[str], given: Sequence[Mapping[str, Any]]) -> spreading.Shares:
        """Return for each output that somebody asked for every request's share of it."""
        feeds = batch.feeds(given, self.layout)
        if self.replaying and len(given) == 1:
            made = self.replaying.run(names, feeds)
        else:
            made = self.session.run(names, feeds, self.run_options)
        return {
            name: batch.parts(name, np.asarray(output), given, self.layout)
            for name, output in zip(names, made, strict=True)
        }


def _folder_of_the_model() -> Path:
    """Return the version's folder, which nobody tells a model that completes its config.

    It is in the command that started this process: the path at which a model.py would lie.
    """
    command = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    return Path(command[1].decode()).parent
