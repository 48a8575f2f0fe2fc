"""What only the engine of onnxruntime-genai has: two kinds of KV cache."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.engine import onnxruntime_genai
from backends.engine.protocol import Sampling

PROMPT = list(np.random.default_rng(1).integers(20, 49000, 300))


def test_a_growing_cache_changes_nothing(
    artifact: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = onnxruntime_genai.create(settings, artifact.parent)

    async def answer() -> list[int]:
        steps = engine.generate("test", PROMPT, Sampling(max_tokens=12))
        return [token async for step in steps for token in step.ids]

    shared = asyncio.run(answer())
    monkeypatch.setattr(onnxruntime_genai, "SHARED_CACHE_TOKENS", 0)
    assert asyncio.run(answer()) == shared
    engine.close()
