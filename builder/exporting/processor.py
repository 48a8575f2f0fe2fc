"""What this machine's processor can do that an artifact's form depends on."""

from __future__ import annotations

import platform
import re
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_VNNI = re.compile(r"\b(avx512_vnni|avx_vnni)\b")


def sums_bytes_exactly() -> bool:
    """Say whether products of 8-bit integers are summed without saturating.

    x86 processors without VNNI (Intel before 2019, AMD before Zen 4) add two of them in 16 bits
    (onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "reduce range").
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    return _CPUINFO.is_file() and _VNNI.search(_CPUINFO.read_text(encoding="utf-8")) is not None
