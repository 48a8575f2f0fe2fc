"""TRN647: what config.pbtxt and the model.yaml of NVIDIA's llmapi model both say.

Source: TensorRT-LLM 1.2, triton_backend/all_models/llmapi: 1/model.py takes it from model.yaml by
auto_complete_config, which NVIDIA's own launcher switches off.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from builder import reading, yaml_text
from builder.layout import Model
from builder.rule import Fault, Host, rule

_FILE, _SECTION = "model.yaml", "triton_config"
_LARGEST = 1 << 20
"""Bytes; one that is larger is no model.yaml."""


@rule("TRN647")
def told_twice(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """config.pbtxt and triton_config in model.yaml say the same of decoupled and max_batch_size.

    The server goes by config.pbtxt, NVIDIA's model.py by model.yaml: streams are refused, or end in an error.

    Bad:
        backend: "python"
        == m/1/model.py
        class TritonPythonModel:
            def execute(self, requests): return []
        == m/1/model.yaml
        model: /models/m/1/model
        triton_config:
          max_batch_size: 0
          decoupled: True
    Good:
        backend: "python"
        model_transaction_policy { decoupled: true }
        == m/1/model.py
        class TritonPythonModel:
            def execute(self, requests): return []
        == m/1/model.yaml
        model: /models/m/1/model
        triton_config:
          max_batch_size: 0
          decoupled: True
    """
    for version in model.served if model.backend == "python" else ():
        path = model.file(str(version), _FILE)
        if path is None or path.stat().st_size > _LARGEST:
            continue
        text = reading.content(path).decode("utf-8", "replace")
        # without a word of either, NVIDIA's model answers at once, and one request at a time
        decoupled = bool(yaml_text.of_section(text, _SECTION, "decoupled") or False)
        batch = int(yaml_text.of_section(text, _SECTION, "max_batch_size") or 0)
        where = os.path.relpath(path, model.path)
        policy, here = config.model_transaction_policy, config.HasField("model_transaction_policy")
        if policy.decoupled != decoupled and (here or not _completes(model, host)):
            yield Fault(
                ("model_transaction_policy",) if here else (),
                f"decoupled is {_said(policy.decoupled)} here and {_said(decoupled)} in {where}",
                f"write model_transaction_policy {{ decoupled: {_said(decoupled)} }}, or change {where}",
            )
        if config.max_batch_size != batch and (config.max_batch_size or not _completes(model, host)):
            yield Fault(
                ("max_batch_size",),
                f"max_batch_size is {config.max_batch_size} here and {batch} in {where}",
                f"write max_batch_size: {batch}, or change {where}",
            )


def _completes(model: Model, host: Host) -> bool:
    """Say whether the server will take from model.yaml what config.pbtxt leaves out."""
    return host.completes and model.completes_itself


def _said(value: bool) -> str:
    return str(value).lower()
