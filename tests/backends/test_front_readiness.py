"""What the front says when Triton asks it whether it is ready, which the embedded server never does."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from backends.engine.protocol import Health
from builder import house

FRONT = Path(__file__).parents[2] / "backends" / "front" / "model.py"


def test_a_model_is_ready_while_its_engine_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", ModuleType("triton_python_backend_utils"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    front = house.load_file(FRONT).TritonPythonModel()
    health = Health(active=0, waiting=0, steps=0, generated_tokens=0, cancelled=0)
    front._engine = SimpleNamespace(health=lambda: health)
    assert front.is_ready() is True
    failed = replace(health, failure="out of memory")
    front._engine = SimpleNamespace(health=lambda: failed)
    assert front.is_ready() is False
