"""Triton's own counters: how many requests one execution of each model took, and the GPUs' memory."""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping
from typing import Any

from builder.serving import rest

Counts = Mapping[str, tuple[float, float]]
"""What was done and in how many goes, by model."""

_SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def batches(http_address: str) -> Counts:
    """Return inference and execution counts of every model; nothing when the server does not say."""
    try:
        status, found = rest.call(http_address, "GET", "/v2/models/stats")
    except (OSError, http.client.HTTPException):
        return {}
    if status != 200:
        return {}
    return {
        row["name"]: (float(row.get("inference_count", 0)), float(row.get("execution_count", 0)))
        for row in found["model_stats"]
    }


def means(before: Counts, after: Counts) -> dict[str, float]:
    """Return what was done per go between two looks, of the models that worked meanwhile."""
    found = {}
    for name, (done, goes) in after.items():
        done_before, goes_before = before.get(name, (0.0, 0.0))
        if goes > goes_before:
            found[name] = round((done - done_before) / (goes - goes_before), 3)
    return found


def gpu_memory(metrics_address: str) -> dict[str, float]:
    """Return used MB (10^6 bytes) of every GPU that the metrics name; nothing without GPU or metrics."""
    return {
        labels["gpu_uuid"]: round(value / 1e6, 1)
        for labels, value in _metrics(metrics_address, "nv_gpu_memory_used_bytes")
        if "gpu_uuid" in labels
    }


def _metrics(address: str, family: str) -> list[tuple[dict[str, str], float]]:
    try:
        status, text = rest.call(address, "GET", "/metrics")
    except (OSError, http.client.HTTPException):
        return []
    if status != 200:
        return []
    samples: Any = _SAMPLE.findall(str(text))
    return [(dict(_LABEL.findall(labels)), float(value)) for name, labels, value in samples if name == family]
