"""Plain ONNX Runtime, on a CPU or a GPU: one step advances every running sequence at once.

Serves the folder that onnxruntime-genai's model builder wrote. That library's own batches start and end
together, and its paged engine tells neither probabilities nor takes what changes logits; here sequences come
and go between steps, and tokens are chosen from the logits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.engine.decoder_rows import DecoderRows
from backends.engine.device_rows import DeviceRows
from backends.engine.processors import usable_cores
from backends.engine.rounds import RESPONSES_A_SECOND_PER_THREAD, Seated
from backends.engine.rows import Rows


def create(settings: Mapping[str, Any], folder: Path) -> Onnxruntime:
    """Load the artifact at `folder`/settings["model"] on its provider; 0 threads are one per core."""
    arguments = settings["engine_arguments"]
    # given no number the library ties its threads to cores, where they wait for whoever else runs there
    threads = int(arguments["threads"]) or usable_cores()
    on_cpu = arguments["provider"] == "cpu"
    rows: Rows = (DecoderRows if on_cpu else DeviceRows)(
        folder / settings["model"],
        rows=int(settings["max_active"]),
        capacity=int(settings["context_length"]),
        threads=threads,
    )
    # a GPU that computes leaves the processors to those who carry the tokens away
    rate = threads * RESPONSES_A_SECOND_PER_THREAD if on_cpu else math.inf
    return Onnxruntime(rows, settings, folder, responses_a_second=rate)


class Onnxruntime(Seated):
    """The engine of `--target onnx`; see Engine."""

    name = "onnxruntime"
